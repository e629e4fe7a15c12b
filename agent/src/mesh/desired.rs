//! From the catalog to the desired state, in time that follows what changed.
//!
//! Owns what it derived last. Receives whole snapshots, compares them with the last ones (persistent maps: shared parts
//! are skipped) and recomputes only the services that a difference touches.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::select::select;
use super::slots;
use super::vip::{Remembered, Vips};
use crate::config::MeshSettings;
use crate::model::endpoint::of_service;
use crate::model::{
    Alias, AliasName, Conflict, Desired, Ejections, Endpoint, Endpoints, Frontend, IfName, L4, Ruleset, ServiceId,
    ServiceView, Slots,
};

/// What the desired state is computed from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inputs {
    /// Endpoints of every namespace that is known here.
    pub catalog: Endpoints,
    /// Endpoints avoided because connections to them failed.
    pub ejections: Ejections,
    /// This node's name: its bridge endpoints need care when they dial themselves.
    pub node: Arc<str>,
    /// This node's address, which its host-network endpoints share.
    pub address: Option<Ipv4Addr>,
    /// This node's zone.
    pub zone: Option<Arc<str>>,
    /// Docker's bridges.
    pub bridges: OrdSet<IfName>,
    /// Name servers whose queries are captured from the host's own processes.
    pub resolvers: OrdSet<Ipv4Addr>,
}

/// The desired state and everything needed to bring it up to date.
///
/// There may be tens of thousands of services, each with a name and an endpoint or two. So what belongs to one of them
/// stands in a flat map under a pair of keys, or in a sorted slice: a set of its own would take ten times the memory.
#[derive(Debug)]
pub struct Mesh {
    settings: MeshSettings,
    vips: Vips,
    inputs: Inputs,
    desired: Desired,
    services: BTreeMap<ServiceId, Service>,
    claims: BTreeMap<(AliasName, ServiceId), Claim>,
    at: BTreeSet<(Target, ServiceId)>,
    conflicts: BTreeMap<ServiceId, Vec<Conflict>>,
}

/// Where an endpoint is reached.
type Target = (Ipv4Addr, u16, L4);

/// What was derived from one service's endpoints. Slices are sorted and hold nothing twice.
#[derive(Debug, Default)]
struct Service {
    vip: Option<Ipv4Addr>,
    slots: Box<[(L4, Slots)]>,
    names: Box<[AliasName]>,
    targets: Box<[Target]>,
    locals: Box<[Ipv4Addr]>,
    frontends: Box<[Frontend]>,
}

impl Service {
    fn slots(&self, l4: L4) -> Option<&Slots> {
        self.slots.iter().find(|(of, _)| *of == l4).map(|(_, slots)| slots)
    }
}

/// A service's claim to an alias name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    rank: Rank,
    /// Sorted, each once.
    ports: Box<[(L4, NonZeroU16)]>,
}

/// Who has a name that several services claim; the least has it. First the service whose qualified name it is, then by
/// order of namespaces, then the one whose discovery name it is, then the one that has claimed it longest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unqualified: bool,
    namespace: usize,
    borrowed: bool,
    since_ms: u64,
}

/// Computes the desired state from scratch: what [`Mesh::advance`] must come to, however it got there.
#[cfg(test)]
fn compute(settings: &MeshSettings, remembered: &Remembered, inputs: Inputs) -> Desired {
    Mesh::new(settings.clone(), remembered).advance(inputs)
}

impl Mesh {
    /// An empty mesh.
    #[must_use]
    pub fn new(settings: MeshSettings, remembered: &Remembered) -> Self {
        Self {
            vips: Vips::new(settings.vip_cidr, remembered),
            settings,
            inputs: Inputs::default(),
            desired: Desired::default(),
            services: BTreeMap::new(),
            claims: BTreeMap::new(),
            at: BTreeSet::new(),
            conflicts: BTreeMap::new(),
        }
    }

    /// The VIPs given out.
    #[must_use]
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    /// Takes the inputs as they are now and gives the desired state for them.
    pub fn advance(&mut self, inputs: Inputs) -> Desired {
        let changed = self.changed(&inputs);
        self.inputs = inputs;

        let (mut names, mut touched) = (BTreeSet::new(), BTreeSet::new());
        for service in &changed {
            self.derive(service, &mut names, &mut touched);
        }
        let mut owners = changed;
        for name in names {
            owners.extend(self.name(&name));
        }
        let mut ruleset = Ruleset::clone(&self.desired.ruleset);
        let mut other_conflicts = false;
        for owner in &owners {
            other_conflicts |= self.publish(owner, &mut ruleset.frontends);
        }
        for address in touched {
            let mut here = self.serving((address, 0, L4::Tcp), (address, u16::MAX, L4::Udp));
            if here.any(|id| self.services.get(id).is_some_and(|service| service.locals.contains(&address))) {
                ruleset.locals.insert(address);
            } else {
                ruleset.locals.remove(&address);
            }
        }
        ruleset.bridges = self.inputs.bridges.clone();
        ruleset.resolvers = self.inputs.resolvers.clone();
        if ruleset != *self.desired.ruleset {
            self.desired.ruleset = Arc::new(ruleset);
        }
        if other_conflicts {
            self.desired.conflicts = self.conflicts.values().flatten().cloned().collect();
        }
        self.desired.clone()
    }

    /// The services that a difference between the last inputs and these touches.
    fn changed(&self, inputs: &Inputs) -> BTreeSet<ServiceId> {
        if inputs.zone != self.inputs.zone || inputs.node != self.inputs.node || inputs.address != self.inputs.address {
            return inputs.catalog.keys().chain(self.inputs.catalog.keys()).map(|(id, _)| id.clone()).collect();
        }
        let of_catalog = self.inputs.catalog.diff(&inputs.catalog).map(|item| match item {
            DiffItem::Add((id, _), _) | DiffItem::Remove((id, _), _) | DiffItem::Update { new: ((id, _), _), .. } => {
                id.clone()
            }
        });
        let of_ejections = self.inputs.ejections.diff(&inputs.ejections).flat_map(|item| {
            let (l4, address) = match item {
                DiffItem::Add(at, _) | DiffItem::Remove(at, _) | DiffItem::Update { new: (at, _), .. } => *at,
            };
            let target = (*address.ip(), address.port(), l4);
            self.serving(target, target).cloned()
        });
        of_catalog.chain(of_ejections).collect()
    }

    /// The services that have endpoints at these targets, a service once for each.
    fn serving(&self, first: Target, last: Target) -> impl Iterator<Item = &ServiceId> {
        let from = (first, ServiceId::first());
        self.at.range(from..).take_while(move |(target, _)| *target <= last).map(|(_, service)| service)
    }

    /// The services that claim a name.
    fn claims(&self, name: &AliasName) -> impl Iterator<Item = (&ServiceId, &Claim)> {
        let (from, name) = ((name.clone(), ServiceId::first()), name.clone());
        let claims = self.claims.range(from..).take_while(move |((claimed, _), _)| *claimed == name);
        claims.map(|((_, service), claim)| (service, claim))
    }

    /// Brings one service's slots, view, claims and addresses up to date. Adds the names whose claims may have changed,
    /// and the local addresses that may have come or gone.
    fn derive(&mut self, id: &ServiceId, names: &mut BTreeSet<AliasName>, touched: &mut BTreeSet<Ipv4Addr>) {
        let old = self.services.remove(id).unwrap_or_default();
        let endpoints: Vec<Arc<Endpoint>> = of_service(&self.inputs.catalog, id).cloned().collect();
        let namespace = self.settings.dialled().position(|namespace| *namespace == id.namespace);

        let mut new = Service { frontends: old.frontends, ..Service::default() };
        if !endpoints.is_empty() && namespace.is_some() {
            let catalog = &self.inputs.catalog;
            new.vip = self.vips.assign(id, |service| of_service(catalog, service).next().is_some());
        }
        let mut all_slots = Vec::new();
        for l4 in [L4::Tcp, L4::Udp] {
            let own: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.protocol.l4() == l4).cloned().collect();
            let key = (id.clone(), l4);
            if own.is_empty() {
                self.desired.services.remove(&key);
                continue;
            }
            let (view, slots) = self.view(id, &own, new.vip, namespace);
            self.desired.services.insert(key, Arc::new(view));
            all_slots.extend(slots.map(|slots| (l4, slots)));
        }
        new.slots = all_slots.into();
        let claims = match (new.vip, namespace) {
            (Some(_), Some(namespace)) => claims(id, namespace, &endpoints),
            _ => BTreeMap::new(),
        };
        new.names = claims.keys().cloned().collect();
        names.extend(old.names.iter().chain(&new.names).cloned());
        for name in missing(&old.names, &new.names) {
            self.claims.remove(&(name.clone(), id.clone()));
        }
        for (name, mut claim) in claims {
            let key = (name, id.clone());
            if let Some(old) = self.claims.get(&key) {
                // A rolling deployment replaces the oldest task; the claim is as old as ever.
                claim.rank.since_ms = claim.rank.since_ms.min(old.rank.since_ms);
            }
            self.claims.insert(key, claim);
        }
        let locals = endpoints.iter().filter(|endpoint| self.is_local(endpoint)).map(|e| *e.address.ip());
        new.locals = sorted(locals);
        touched.extend(missing(&old.locals, &new.locals).chain(missing(&new.locals, &old.locals)));
        new.targets = sorted(endpoints.iter().map(|e| (*e.address.ip(), e.address.port(), e.protocol.l4())));
        for target in missing(&old.targets, &new.targets) {
            self.at.remove(&(*target, id.clone()));
        }
        self.at.extend(missing(&new.targets, &old.targets).map(|target| (*target, id.clone())));
        self.services.insert(id.clone(), new);
    }

    fn view(
        &self,
        id: &ServiceId,
        endpoints: &[Arc<Endpoint>],
        vip: Option<Ipv4Addr>,
        namespace: Option<usize>,
    ) -> (ServiceView, Option<Slots>) {
        let (mut views, chosen) =
            select(endpoints, &self.inputs.ejections, self.inputs.zone.as_ref(), self.settings.locality);
        let slots = vip.and_then(|_| slots::assign(&chosen));
        let mut taken: BTreeMap<SocketAddrV4, f64> = BTreeMap::new();
        for slot in slots.iter().flat_map(|slots| slots.iter()) {
            *taken.entry(*slot).or_default() += 1.0;
        }
        let all = slots.as_ref().map_or(0, |slots| slots.len());
        for view in &mut views {
            view.share = taken.remove(&view.endpoint.address).map_or(0.0, |slots| slots / all as f64);
        }
        let why = match (namespace, vip, all) {
            (None, ..) => Some(format!(
                "namespace {} is neither this node's nor imported; add it to mesh.import to dial it from here",
                id.namespace
            )),
            (_, None, _) => Some(format!("no VIP is left in {}; widen mesh.vip_cidr", self.settings.vip_cidr)),
            (_, _, 0) => Some("no endpoint takes connections: its VIP refuses".to_owned()),
            _ => None,
        };
        let aliases: BTreeSet<&Alias> = endpoints.iter().flat_map(|endpoint| endpoint.aliases.iter()).collect();
        let oldest = endpoints.iter().min_by_key(|endpoint| (endpoint.started_ms, &endpoint.id));
        let view = ServiceView {
            vip,
            protocol: oldest.map(|endpoint| endpoint.protocol).unwrap_or_default(),
            aliases: aliases.into_iter().cloned().collect(),
            endpoints: views,
            slots: all,
            why: why.map(Into::into),
        };
        (view, slots)
    }

    /// Decides again who has a name. Gives the services whose frontends that may change.
    fn name(&mut self, name: &AliasName) -> Vec<ServiceId> {
        let before = self.desired.names.get(name).copied();
        let after = self.owner(name).and_then(|owner| self.services.get(owner)?.vip);
        // Untouched where nothing changes: whoever follows the names sees by the map's identity that there is no news.
        match after {
            _ if before == after => None,
            Some(vip) => self.desired.names.insert(name.clone(), vip),
            None => self.desired.names.remove(name),
        };
        let stands_for = |vip: Option<Ipv4Addr>| vip.and_then(|vip| self.vips.holder(vip)).cloned();
        stands_for(before).into_iter().chain(stands_for(after)).collect()
    }

    fn owner(&self, name: &AliasName) -> Option<&ServiceId> {
        self.claims(name).min_by_key(|(service, claim)| (&claim.rank, *service)).map(|(service, _)| service)
    }

    /// Brings the frontends on a service's VIP up to date: its own ports, and those that other services claim on names
    /// that this one has. True when other aliases than before are claimed twice.
    fn publish(&mut self, id: &ServiceId, frontends: &mut OrdMap<Frontend, Slots>) -> bool {
        let mut wanted: BTreeMap<Frontend, (ServiceId, Option<Slots>)> = BTreeMap::new();
        let mut conflicts = Vec::new();
        if let Some((service, vip)) = self.services.get(id).and_then(|service| Some((service, service.vip?))) {
            let frontend = |&(l4, port): &(L4, NonZeroU16)| Frontend { vip, l4, port };
            for claim in service.names.iter().filter_map(|name| self.claims.get(&(name.clone(), id.clone()))) {
                for port in &claim.ports {
                    wanted.insert(frontend(port), (id.clone(), service.slots(port.0).cloned()));
                }
            }
            let owned = |name: &&AliasName| self.desired.names.get(*name) == Some(&vip);
            for name in service.names.iter().filter(owned) {
                let mut guests: Vec<_> = self.claims(name).filter(|(guest, _)| *guest != id).collect();
                guests.sort_by_key(|(service, claim)| (&claim.rank, *service));
                for (guest, claim) in guests {
                    for port in &claim.ports {
                        let slots = self.services.get(guest).and_then(|guest| guest.slots(port.0)).cloned();
                        let (owner, _) = wanted.entry(frontend(port)).or_insert_with(|| (guest.clone(), slots));
                        if owner != guest {
                            let alias = Alias { name: name.clone(), port: port.1 };
                            conflicts.push(Conflict { alias, owner: owner.clone(), loser: guest.clone() });
                        }
                    }
                }
            }
        }
        let wanted: BTreeMap<Frontend, (ServiceId, Slots)> =
            wanted.into_iter().filter_map(|(frontend, (server, slots))| Some((frontend, (server, slots?)))).collect();
        if let Some(service) = self.services.get_mut(id) {
            for gone in service.frontends.iter().filter(|frontend| !wanted.contains_key(frontend)) {
                frontends.remove(gone);
                self.desired.served.remove(gone);
            }
            service.frontends = wanted.keys().copied().collect();
            if service.vip.is_none() && service.targets.is_empty() {
                self.services.remove(id);
            }
        }
        for (frontend, (server, slots)) in wanted {
            if frontends.get(&frontend) != Some(&slots) {
                frontends.insert(frontend, slots);
            }
            if self.desired.served.get(&frontend) != Some(&server) {
                self.desired.served.insert(frontend, server);
            }
        }
        let before = match conflicts.is_empty() {
            true => self.conflicts.remove(id),
            false => self.conflicts.insert(id.clone(), conflicts),
        };
        before.as_ref() != self.conflicts.get(id)
    }

    /// Whether an endpoint has an address of its own on one of this node's bridges.
    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node == self.inputs.node && Some(*endpoint.address.ip()) != self.inputs.address
    }
}

fn claims(id: &ServiceId, namespace: usize, endpoints: &[Arc<Endpoint>]) -> BTreeMap<AliasName, Claim> {
    let qualified = id.qualified().ok();
    let since_ms = endpoints.iter().map(|endpoint| endpoint.started_ms).min().unwrap_or(0);
    let mut ports: BTreeMap<AliasName, BTreeSet<(L4, NonZeroU16)>> =
        qualified.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for endpoint in endpoints {
        for alias in endpoint.aliases.iter() {
            ports.entry(alias.name.clone()).or_default().insert((endpoint.protocol.l4(), alias.port));
        }
    }
    let claim = |(name, ports): (AliasName, BTreeSet<_>)| {
        let rank = Rank {
            unqualified: qualified.as_ref() != Some(&name),
            namespace,
            borrowed: id.name.as_str() != name.as_str(),
            since_ms,
        };
        (name, Claim { rank, ports: ports.into_iter().collect() })
    };
    ports.into_iter().map(claim).collect()
}

/// The items in order, each once.
fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Box<[T]> {
    items.collect::<BTreeSet<T>>().into_iter().collect()
}

/// What one sorted slice holds and another does not.
fn missing<'a, T: Ord>(here: &'a [T], there: &'a [T]) -> impl Iterator<Item = &'a T> {
    here.iter().filter(|item| there.binary_search(item).is_err())
}

#[cfg(test)]
mod tests;
