//! Who claims a name, and who has it.

use super::Mesh;
use crate::mesh::claims::Claim;
use crate::model::{AliasName, DualStack, ServiceId};

impl Mesh {
    /// The services that claim a name.
    pub(super) fn claims(&self, name: &AliasName) -> impl Iterator<Item = (&ServiceId, &Claim)> {
        let (from, name) = ((name.clone(), ServiceId::first()), name.clone());
        let claims = self.claims.range(from..).take_while(move |((claimed, _), _)| *claimed == name);
        claims.map(|((_, service), claim)| (service, claim))
    }

    /// A service claims a name, for the first time or still.
    pub(super) fn claim(&mut self, key: (AliasName, ServiceId), mut claim: Claim) {
        let known = self.claims.get(&key);
        if claim.rank.departed {
            // Should it come back it claims the name anew; among those that have departed it is as old as it was.
            claim.rank.since_ms = known.map_or(claim.rank.since_ms, |known| known.rank.since_ms);
            self.claimed += u64::from(known.is_some_and(|known| !known.rank.departed));
            self.claims.insert(key, claim);
            return;
        }
        let before = known.filter(|old| !old.rank.departed).map(|old| old.rank.since_ms);
        // A rolling deployment replaces the oldest task, and so may one while the agent is away; the claim is as old as
        // ever.
        let recalled = || self.recalled.get(&key).filter(|_| known.is_none()).copied();
        if let Some(since_ms) = before.or_else(recalled) {
            claim.rank.since_ms = claim.rank.since_ms.min(since_ms);
        }
        self.claimed += u64::from(before != Some(claim.rank.since_ms) && claim.rank.is_contestable());
        self.claims.insert(key, claim);
    }

    /// Decides again who has a name. Gives the services whose frontends that may change.
    pub(super) fn name(&mut self, name: &AliasName) -> Vec<ServiceId> {
        let before = self.desired.names.get(name).copied();
        let after = self.owner(name).and_then(|owner| self.services.get(owner)?.vips);
        // Untouched where nothing changes: whoever follows the names sees by the map's identity that there is no news.
        match after {
            _ if before == after => None,
            Some(vips) => self.desired.names.insert(name.clone(), vips),
            None => self.desired.names.remove(name),
        };
        let stands_for = |vips: Option<DualStack>| vips.and_then(|vips| self.vips.holder(vips.first())).cloned();
        stands_for(before).into_iter().chain(stands_for(after)).collect()
    }

    fn owner(&self, name: &AliasName) -> Option<&ServiceId> {
        self.claims(name).min_by_key(|(service, claim)| (&claim.rank, *service)).map(|(service, _)| service)
    }
}
