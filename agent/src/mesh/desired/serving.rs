//! Who serves which port of a service's VIPs, and the frontends that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::{Mesh, Service};
use crate::mesh::reach::Reach;
use crate::model::endpoint::of_service;
use crate::model::{Alias, AliasName, Conflict, Frontend, L4, Ruleset, ServiceId, View};

impl Mesh {
    /// Brings the frontends on a service's VIPs up to date in every view. True when other aliases than before are
    /// claimed twice.
    pub(super) fn publish(&mut self, id: &ServiceId, rulesets: &mut BTreeMap<View, Ruleset>) -> bool {
        let (servers, conflicts) = self.servers(id);
        let vips: Vec<IpAddr> = self.services.get(id).into_iter().flat_map(Service::vips).collect();
        let wanted: BTreeMap<Frontend, &ServiceId> = servers
            .iter()
            .flat_map(|(&(l4, port), server)| vips.iter().map(move |&vip| (Frontend { vip, l4, port }, server)))
            .collect();
        let old = self.services.get_mut(id).map(|service| std::mem::take(&mut service.frontends)).unwrap_or_default();
        let mut served: BTreeSet<Frontend> = BTreeSet::new();
        for (&view, ruleset) in rulesets {
            for gone in old.iter().filter(|frontend| !wanted.contains_key(frontend)) {
                ruleset.frontends.remove(gone);
            }
            for (&frontend, server) in &wanted {
                let reach = Reach { view, family: frontend.family(), l4: frontend.l4 };
                match self.services.get(*server).and_then(|server| server.slots(reach)) {
                    Some(slots) if ruleset.frontends.get(&frontend) == Some(slots) => drop(served.insert(frontend)),
                    Some(slots) => {
                        served.insert(frontend);
                        ruleset.frontends.insert(frontend, slots.clone());
                    }
                    None => drop(ruleset.frontends.remove(&frontend)),
                }
            }
        }
        for gone in old.iter().filter(|frontend| !served.contains(frontend)) {
            self.desired.served.remove(gone);
        }
        for frontend in &served {
            if let Some(&server) = wanted.get(frontend)
                && self.desired.served.get(frontend) != Some(server)
            {
                self.desired.served.insert(*frontend, server.clone());
            }
        }
        if let Some(service) = self.services.get_mut(id) {
            service.frontends = served.into_iter().collect();
            if service.vips.is_none() && of_service(&self.snapshot.catalog, id).next().is_none() {
                self.services.remove(id);
            }
        }
        let before = match conflicts.is_empty() {
            true => self.conflicts.remove(id),
            false => self.conflicts.insert(id.clone(), conflicts),
        };
        before.as_ref() != self.conflicts.get(id)
    }

    /// Who serves which port of a service's VIPs: itself its own ports, and others those that they claim on names that
    /// this service has. Also which aliases are claimed twice.
    fn servers(&self, id: &ServiceId) -> (BTreeMap<(L4, NonZeroU16), ServiceId>, Vec<Conflict>) {
        let mut servers: BTreeMap<(L4, NonZeroU16), ServiceId> = BTreeMap::new();
        let mut conflicts = Vec::new();
        let Some(service) = self.services.get(id) else { return (servers, conflicts) };
        let Some(vips) = service.vips else { return (servers, conflicts) };
        for claim in service.names.iter().filter_map(|name| self.claims.get(&(name.clone(), id.clone()))) {
            servers.extend(claim.ports.iter().map(|port| (*port, id.clone())));
        }
        let owned = |name: &&AliasName| self.desired.names.get(*name) == Some(&vips);
        for name in service.names.iter().filter(owned) {
            let rivals = self.claims(name).filter(|(guest, claim)| *guest != id && !claim.rank.departed);
            let mut guests: Vec<_> = rivals.collect();
            guests.sort_by_key(|(service, claim)| (&claim.rank, *service));
            for (guest, claim) in guests {
                for port in &claim.ports {
                    let owner = servers.entry(*port).or_insert_with(|| guest.clone());
                    if owner != guest {
                        let alias = Alias { name: name.clone(), port: port.1 };
                        conflicts.push(Conflict { alias, owner: owner.clone(), loser: guest.clone() });
                    }
                }
            }
        }
        (servers, conflicts)
    }
}
