//! From the catalog to the desired state, in time that follows what changed.
//!
//! Owns what it derived last. Receives whole snapshots, compares them with the last ones (persistent maps: shared parts
//! are skipped) and recomputes only the services that a difference touches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use self::departed::without_endpoints;
use super::claims::{Claim, MAX_CLAIMS, claims, recalled};
use super::drains::Drains;
use super::known::{self, Departed, KnownService};
use super::reach::{Reach, share_out};
use super::select::judge;
use super::snapshot::MeshSnapshot;
use super::vantages;
use super::vip::{Remembered, Vips};
use crate::config::MeshSettings;
use crate::model::endpoint::of_service;
use crate::model::{
    Alias, AliasName, Conflict, Desired, DesiredService, DualStack, Endpoint, EndpointAddresses, Family, Frontend, L4,
    LocalNetwork, Ruleset, ServiceId, Slots, Target, View,
};

mod departed;
mod naming;
mod serving;

/// The desired state and everything needed to bring it up to date.
///
/// There may be tens of thousands of services, each with a name and an endpoint or two. So what belongs to one of them
/// stands in a flat map under a pair of keys, or in a sorted slice: a set of its own would take ten times the memory.
#[derive(Debug)]
pub struct Mesh {
    settings: MeshSettings,
    vips: Vips,
    snapshot: MeshSnapshot,
    desired: Desired,
    services: BTreeMap<ServiceId, Service>,
    claims: BTreeMap<(AliasName, ServiceId), Claim>,
    /// Since when names were claimed before the agent restarted. Nothing once the first snapshot was taken.
    recalled: BTreeMap<(AliasName, ServiceId), u64>,
    /// Services that were known before the agent restarted. Nothing once the first snapshot was taken.
    known: Vec<KnownService>,
    /// Counts up whenever what is to be remembered of claims and known services changes.
    claimed: u64,
    /// Whether there was a snapshot.
    begun: bool,
    at: BTreeSet<(Target, ServiceId)>,
    /// How many services have an endpoint on a bridge of this node at each address.
    locals: BTreeMap<IpAddr, usize>,
    drains: Drains,
    conflicts: BTreeMap<ServiceId, Vec<Conflict>>,
    departed: Departed,
}

/// What was derived from one service's endpoints. Slices are sorted and hold nothing twice.
#[derive(Debug, Default)]
struct Service {
    vips: Option<DualStack>,
    slots: Box<[(Reach, Slots)]>,
    names: Box<[AliasName]>,
    frontends: Box<[Frontend]>,
}

impl Service {
    fn slots(&self, reach: Reach) -> Option<&Slots> {
        self.slots.iter().find(|(of, _)| *of == reach).map(|(_, slots)| slots)
    }

    fn vips(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.vips.into_iter().flat_map(DualStack::iter)
    }
}

/// Computes the desired state from scratch: what [`Mesh::advance`] must come to, however it got there.
#[cfg(test)]
fn compute(settings: &MeshSettings, remembered: &Remembered, snapshot: MeshSnapshot) -> Desired {
    Mesh::new(settings.clone(), remembered).advance(snapshot)
}

impl Mesh {
    /// An empty mesh.
    #[must_use]
    pub fn new(settings: MeshSettings, remembered: &Remembered) -> Self {
        Self {
            vips: Vips::new(settings.vip_ranges, remembered),
            settings,
            snapshot: MeshSnapshot::default(),
            desired: Desired::default(),
            services: BTreeMap::new(),
            claims: BTreeMap::new(),
            recalled: recalled(remembered),
            known: remembered.known.clone(),
            claimed: 0,
            begun: false,
            at: BTreeSet::new(),
            locals: BTreeMap::new(),
            drains: Drains::default(),
            conflicts: BTreeMap::new(),
            departed: Departed::default(),
        }
    }

    /// The VIPs given out.
    #[must_use]
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    /// What the next start of the agent is to know.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        let mut remembered = self.vips.remembered();
        let contestable = self.claims.iter().filter(|(_, claim)| claim.rank.is_contestable() && !claim.rank.departed);
        for ((name, service), claim) in contestable.take(MAX_CLAIMS) {
            let of_name = remembered.claims.entry(name.to_string()).or_default();
            of_name.insert(service.to_string(), claim.rank.since_ms);
        }
        let known = self.desired.services.iter().filter(|(_, described)| described.vips.is_some());
        let known = known.map(|(key, described)| KnownService::new(&key.0, described, self.departed.get(key)));
        remembered.known = known::bounded(known.collect());
        remembered
    }

    /// Counts up whenever what is to be remembered changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.vips.generation() + self.claimed
    }

    /// When the next service is to be forgotten, by the clock of the snapshots.
    #[must_use]
    pub fn next_forgotten(&self) -> Option<u64> {
        self.departed.next()
    }

    /// Takes the newest snapshot and gives the desired state for it.
    pub fn advance(&mut self, snapshot: MeshSnapshot) -> Desired {
        let mut changed = self.changed(&snapshot);
        let before = std::mem::replace(&mut self.snapshot, snapshot);
        changed.extend(self.recall());

        let (mut names, mut touched) = (BTreeSet::new(), BTreeSet::new());
        for service in &changed {
            let of = |catalog| of_service(catalog, service).cloned().collect::<Vec<_>>();
            let (old, new) = (of(&before.catalog), of(&self.snapshot.catalog));
            self.index(service, &old, &new, &mut touched);
            self.derive(service, &new, &mut names);
        }
        if !self.begun {
            self.begun = true;
            self.recalled.clear();
            let catalog = &self.snapshot.catalog;
            let departed = &self.departed;
            let live = |service: &_| departed.contains(service) || of_service(catalog, service).next().is_some();
            self.vips.leave_unless(self.snapshot.now, live);
        }
        let mut owners = changed;
        for name in names {
            owners.extend(self.name(&name));
        }
        let views = self.snapshot.views.iter();
        let mut rulesets: BTreeMap<View, Ruleset> = views
            .map(|view| (*view, self.desired.ruleset(*view).map(|now| Ruleset::clone(now)).unwrap_or_default()))
            .collect();
        let mut other_conflicts = false;
        for owner in &owners {
            other_conflicts |= self.publish(owner, &mut rulesets);
        }
        self.desired.rulesets =
            rulesets.into_iter().map(|(view, ruleset)| self.complete(view, ruleset, &touched)).collect();
        if other_conflicts {
            self.desired.conflicts = self.conflicts.values().flatten().cloned().collect();
        }
        self.desired.clone()
    }

    /// Adds to a view's frontends what its clients need besides. The same ruleset as before where nothing differs.
    fn complete(&self, view: View, mut ruleset: Ruleset, touched: &BTreeSet<IpAddr>) -> (View, Arc<Ruleset>) {
        if view == View::Node {
            for address in touched {
                match self.locals.contains_key(address) {
                    true => ruleset.locals.insert(*address),
                    false => ruleset.locals.remove(address),
                };
            }
            self.place_vantages(&mut ruleset);
            ruleset.closed = self.snapshot.closed.clone();
            ruleset.resolvers = self.snapshot.resolvers.clone();
            ruleset.host_resolvers = self.snapshot.host_resolvers.clone();
            ruleset.uncaptured = self.snapshot.uncaptured.clone();
        }
        ruleset.draining = self.drains.addresses().clone();
        match self.desired.ruleset(view) {
            Some(before) if **before == ruleset => (view, Arc::clone(before)),
            _ => (view, Arc::new(ruleset)),
        }
    }

    /// Gives each bridge a vantage, and leads that one's VIP to it.
    fn place_vantages(&self, ruleset: &mut Ruleset) {
        if ruleset.bridges == self.snapshot.bridges {
            return;
        }
        ruleset.bridges = self.snapshot.bridges.clone();
        let range = self.settings.vip_ranges.v4();
        let next = vantages::assign(&ruleset.vantages, &ruleset.bridges, range, |vip| self.vips.holder(vip));
        for gone in std::mem::replace(&mut ruleset.vantages, next).values() {
            ruleset.frontends.remove(&gone.frontend().0);
            ruleset.locals.remove(&gone.address);
        }
        // The road from a bridge to itself is that of an endpoint that dials itself.
        ruleset.locals.extend(ruleset.vantages.values().map(|vantage| vantage.address));
        ruleset.frontends.extend(ruleset.vantages.values().map(|vantage| vantage.frontend()));
    }

    /// The services that a difference between the last snapshot and this one touches.
    fn changed(&self, snapshot: &MeshSnapshot) -> BTreeSet<ServiceId> {
        let forgotten = self.departed.over(snapshot.now).cloned();
        if snapshot.zone != self.snapshot.zone || snapshot.views != self.snapshot.views {
            let all = snapshot.catalog.keys().chain(self.snapshot.catalog.keys()).map(|(id, _)| id.clone());
            return all.chain(forgotten).collect();
        }
        let of_catalog = self.snapshot.catalog.diff(&snapshot.catalog).map(|item| match item {
            DiffItem::Add((id, _), _) | DiffItem::Remove((id, _), _) | DiffItem::Update { new: ((id, _), _), .. } => {
                id.clone()
            }
        });
        let of_ejections = self.snapshot.ejections.diff(&snapshot.ejections).flat_map(|item| {
            let target = match item {
                DiffItem::Add(at, _) | DiffItem::Remove(at, _) | DiffItem::Update { new: (at, _), .. } => *at,
            };
            self.serving(target).cloned()
        });
        of_catalog.chain(of_ejections).chain(forgotten).collect()
    }

    /// The services that have endpoints at a target.
    fn serving(&self, target: Target) -> impl Iterator<Item = &ServiceId> {
        let from = (target, ServiceId::first());
        self.at.range(from..).take_while(move |(at, _)| *at == target).map(|(_, service)| service)
    }

    /// Brings up to date by which addresses a service's endpoints are found. Adds the local addresses that may have come
    /// or gone.
    fn index(
        &mut self,
        id: &ServiceId,
        before: &[Arc<Endpoint>],
        now: &[Arc<Endpoint>],
        touched: &mut BTreeSet<IpAddr>,
    ) {
        let ((old, old_locals), (new, new_locals)) = (addresses(before), addresses(now));
        for gone in missing(&old, &new) {
            self.at.remove(&(*gone, id.clone()));
        }
        self.at.extend(missing(&new, &old).map(|target| (*target, id.clone())));
        self.drains.follow(before.iter(), now.iter());

        for gone in missing(&old_locals, &new_locals) {
            touched.insert(*gone);
            if let Some(services) = self.locals.get_mut(gone) {
                *services -= 1;
                if *services == 0 {
                    self.locals.remove(gone);
                }
            }
        }
        for come in missing(&new_locals, &old_locals) {
            touched.insert(*come);
            *self.locals.entry(*come).or_default() += 1;
        }
    }

    /// Brings one service's slots, description and claims up to date. Adds the names whose claims may have changed.
    fn derive(&mut self, id: &ServiceId, endpoints: &[Arc<Endpoint>], names: &mut BTreeSet<AliasName>) {
        let old = self.services.remove(id).unwrap_or_default();
        let namespace = self.settings.dialled().position(|namespace| *namespace == id.namespace);

        let mut new = Service { frontends: old.frontends, ..Service::default() };
        if namespace.is_some() {
            new.vips = self.assign_vips(id, endpoints);
        }
        let mut all_slots = Vec::new();
        let mut departed = BTreeSet::new();
        for l4 in [L4::Tcp, L4::Udp] {
            let own: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.protocol.l4() == l4).cloned().collect();
            let key = (id.clone(), l4);
            let before = self.desired.services.get(&key).cloned();
            let service = match before.as_deref() {
                _ if !own.is_empty() => {
                    let (service, slots) = self.describe(id, l4, &own, new.vips, namespace);
                    all_slots.extend(slots);
                    self.claimed += u64::from(self.departed.remove(&key));
                    Some(service)
                }
                Some(before) if before.vips.is_some() && self.departed.keeps(&key, self.snapshot.now) => {
                    new.vips = new.vips.or(before.vips);
                    departed.extend(before.aliases.iter().map(|alias| alias.name.clone()));
                    Some(without_endpoints(before))
                }
                _ => {
                    self.departed.remove(&key);
                    None
                }
            };
            let told =
                |service: &DesiredService| (service.aliases.clone(), service.protocol, service.endpoints.is_empty());
            self.claimed += u64::from(before.as_deref().map(told) != service.as_ref().map(told));
            match service {
                Some(service) => drop(self.desired.services.insert(key, Arc::new(service))),
                None => drop(self.desired.services.remove(&key)),
            }
        }
        new.slots = all_slots.into();
        let claims = match (new.vips, namespace) {
            (Some(_), Some(namespace)) => claims(id, namespace, endpoints, &departed),
            _ => BTreeMap::new(),
        };
        new.names = claims.keys().cloned().collect();
        names.extend(old.names.iter().chain(&new.names).cloned());
        for name in missing(&old.names, &new.names) {
            self.claimed += u64::from(
                self.claims.remove(&(name.clone(), id.clone())).is_some_and(|claim| claim.rank.is_contestable()),
            );
        }
        for (name, claim) in claims {
            self.claim((name, id.clone()), claim);
        }
        if endpoints.is_empty() && new.vips.is_none() {
            self.vips.leave(id, self.snapshot.now);
        }
        self.hold(id, old.vips, new.vips);
        self.services.insert(id.clone(), new);
    }

    /// Brings up to date which VIPs stand for a service.
    fn hold(&mut self, id: &ServiceId, before: Option<DualStack>, after: Option<DualStack>) {
        let [before, after] =
            [before, after].map(|vips| vips.into_iter().flat_map(DualStack::iter).collect::<Vec<_>>());
        for gone in before.into_iter().filter(|vip| !after.contains(vip)) {
            if self.desired.holders.get(&gone) == Some(id) {
                self.desired.holders.remove(&gone);
            }
        }
        for vip in after {
            if self.desired.holders.get(&vip) != Some(id) {
                self.desired.holders.insert(vip, id.clone());
            }
        }
    }

    /// A VIP of each family that any of the endpoints has an address of. `None` where there is no endpoint, or no VIP
    /// left.
    fn assign_vips(&mut self, id: &ServiceId, endpoints: &[Arc<Endpoint>]) -> Option<DualStack> {
        let families =
            Family::ALL.into_iter().filter(|family| endpoints.iter().any(|endpoint| endpoint.addresses.has(*family)));
        let (catalog, departed, now) = (&self.snapshot.catalog, &self.departed, self.snapshot.now);
        let live = |service: &ServiceId| departed.contains(service) || of_service(catalog, service).next().is_some();
        DualStack::collect(families.filter_map(|family| self.vips.assign(id, family, now, live)).collect::<Vec<_>>())
    }

    /// What is to be known of a service over one transport, and the slots for every way to reach it that it has a VIP for.
    fn describe(
        &self,
        id: &ServiceId,
        l4: L4,
        endpoints: &[Arc<Endpoint>],
        vips: Option<DualStack>,
        namespace: Option<usize>,
    ) -> (DesiredService, Vec<(Reach, Slots)>) {
        let mut judged = judge(endpoints, &self.snapshot.ejections);
        let mut all: Vec<(Reach, Slots)> = Vec::new();
        for vip in vips.into_iter().flat_map(DualStack::iter) {
            for &view in &self.snapshot.views {
                let reach = Reach { view, family: Family::of(vip), l4 };
                let slots = reach.slots(&judged, self.snapshot.zone.as_ref(), self.settings.locality);
                all.extend(slots.map(|slots| (reach, slots)));
            }
        }
        let own = all.iter().filter(|(reach, _)| reach.view == View::Node);
        let own: Vec<(Family, &Slots)> = own.map(|(reach, slots)| (reach.family, slots)).collect();
        share_out(&mut judged, &own);
        let slots = own.iter().map(|(_, slots)| slots.len()).max().unwrap_or_default();
        let why = match (namespace, vips, slots) {
            (None, ..) => Some(format!(
                "namespace {} is neither this node's nor imported; add it to mesh.import to dial it from here",
                id.namespace
            )),
            (_, None, _) => Some(format!("no VIP is left in {}; widen mesh.vip_cidr", self.settings.vip_ranges.v4())),
            (_, _, 0) => Some("no endpoint takes connections: its VIP refuses".to_owned()),
            _ => None,
        };
        let aliases: BTreeSet<&Alias> = endpoints.iter().flat_map(|endpoint| endpoint.aliases.iter()).collect();
        let oldest = endpoints.iter().min_by_key(|endpoint| (endpoint.started_ms, &endpoint.id));
        let service = DesiredService {
            vips,
            protocol: oldest.map(|endpoint| endpoint.protocol).unwrap_or_default(),
            aliases: aliases.into_iter().cloned().collect(),
            endpoints: judged,
            slots,
            why: why.map(Into::into),
        };
        (service, all)
    }
}

/// Whether an endpoint has an address of its own on one of this node's bridges, from which it may dial itself.
fn is_on_bridge(endpoint: &Endpoint) -> bool {
    matches!(endpoint.addresses, EndpointAddresses::Own { network: LocalNetwork::Bridge, .. })
}

/// Where connections to a service's endpoints go, and which addresses of their own the endpoints have on this node's
/// bridges; both in order, each once.
fn addresses(endpoints: &[Arc<Endpoint>]) -> (Vec<Target>, Vec<IpAddr>) {
    let (mut targets, mut locals) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        targets.extend(endpoint.targets());
        if is_on_bridge(endpoint) {
            locals.extend(endpoint.addresses.local().map(|address| address.ip()));
        }
    }
    (sorted(targets), sorted(locals))
}

/// The items in order, each once.
fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

/// What one sorted slice holds and another does not.
fn missing<'a, T: Ord>(here: &'a [T], there: &'a [T]) -> impl Iterator<Item = &'a T> {
    here.iter().filter(|item| there.binary_search(item).is_err())
}

#[cfg(test)]
mod tests;
