//! What to change so that what is applied becomes what is desired, in no backend's terms. Pure.
//!
//! Takes time in proportion to what changed: persistent maps skip what they share.

use std::fmt;
use std::net::IpAddr;

use imbl::ordmap::DiffItem as MapChange;
use imbl::ordset::DiffItem as SetChange;
use imbl::{OrdMap, OrdSet};

use crate::model::{Frontend, IfName, Ruleset, Slots};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Another set of slots for a frontend. `None` stands for a frontend that is not there.
    Serve {
        /// The frontend.
        frontend: Frontend,
        /// Its slots as applied.
        old: Option<Slots>,
        /// Its slots as desired.
        new: Option<Slots>,
    },
    /// The member is not there and is added.
    Add(Member),
    /// The member is there and is removed.
    Remove(Member),
}

/// A member of one of a ruleset's sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// Clients' packets come from this interface.
    Bridge(IfName),
    /// An endpoint of this node's bridges, which may dial itself.
    Local(IpAddr),
    /// Containers' queries to this name server are answered here, at this port of the resolver.
    Resolver(IpAddr, u16),
    /// The same for the host's own queries.
    HostResolver(IpAddr, u16),
    /// Queries from this address are not captured.
    Uncaptured(IpAddr),
    /// Connections from the first bridge's clients to the other's containers are refused.
    Closed(IfName, IfName),
}

/// Changes to be made together, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The changes.
    pub(super) changes: Vec<Change>,
    /// Whether an endpoint drains no more, which changes no table.
    drained: bool,
}

impl Plan {
    /// The changes that make `applied` into `desired`.
    #[must_use]
    pub(super) fn new(desired: &Ruleset, applied: &Ruleset) -> Self {
        let drained = applied.draining.diff(&desired.draining).any(|change| matches!(change, SetChange::Remove(_)));
        let mut plan = Self { changes: Vec::new(), drained };
        plan.members(&applied.bridges, &desired.bridges, |name| Member::Bridge(name.clone()));
        plan.members(&applied.locals, &desired.locals, |address| Member::Local(*address));
        plan.ports(&applied.resolvers, &desired.resolvers, Member::Resolver);
        plan.ports(&applied.host_resolvers, &desired.host_resolvers, Member::HostResolver);
        plan.members(&applied.uncaptured, &desired.uncaptured, |address| Member::Uncaptured(*address));
        plan.members(&applied.closed, &desired.closed, |(from, to)| Member::Closed(from.clone(), to.clone()));
        plan.changes.extend(applied.frontends.diff(&desired.frontends).map(|change| match change {
            MapChange::Add(frontend, new) => Change::Serve { frontend: *frontend, old: None, new: Some(new.clone()) },
            MapChange::Update { old: (frontend, old), new: (_, new) } => {
                Change::Serve { frontend: *frontend, old: Some(old.clone()), new: Some(new.clone()) }
            }
            MapChange::Remove(frontend, old) => {
                Change::Serve { frontend: *frontend, old: Some(old.clone()), new: None }
            }
        }));
        plan.changes.retain(|change| !matches!(change, Change::Serve { old, new, .. } if old == new));
        plan
    }

    fn members<T: Ord + Clone>(&mut self, applied: &OrdSet<T>, desired: &OrdSet<T>, member: impl Fn(&T) -> Member) {
        self.changes.extend(applied.diff(desired).map(|change| match change {
            SetChange::Add(new) => Change::Add(member(new)),
            SetChange::Remove(old) => Change::Remove(member(old)),
        }));
    }

    fn ports(
        &mut self,
        applied: &OrdMap<IpAddr, u16>,
        desired: &OrdMap<IpAddr, u16>,
        member: impl Fn(IpAddr, u16) -> Member,
    ) {
        for change in applied.diff(desired) {
            let (gone, come) = match change {
                MapChange::Add(address, port) => (None, Some((address, port))),
                MapChange::Update { old, new } => (Some(old), Some(new)),
                MapChange::Remove(address, port) => (Some((address, port)), None),
            };
            self.changes.extend(gone.map(|(address, port)| Change::Remove(member(*address, *port))));
            self.changes.extend(come.map(|(address, port)| Change::Add(member(*address, *port))));
        }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether an endpoint leaves a slot, or has drained: flows without a connection's end may then point at nobody.
    #[must_use]
    pub(super) fn retires(&self) -> bool {
        self.drained
            || self.changes.iter().any(|change| match change {
                Change::Serve { old: Some(old), new, .. } => {
                    let new = new.as_deref().unwrap_or_default();
                    old.iter().enumerate().any(|(slot, endpoint)| new.get(slot) != Some(endpoint))
                }
                Change::Serve { old: None, .. } | Change::Add(_) | Change::Remove(_) => false,
            })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => write!(f, "bridge {name}"),
            Self::Local(address) => write!(f, "local endpoint {address}"),
            Self::Resolver(address, port) => write!(f, "name server {address} at port {port}"),
            Self::HostResolver(address, port) => write!(f, "the host's name server {address} at port {port}"),
            Self::Uncaptured(address) => write!(f, "container {address} with name servers of its own"),
            Self::Closed(from, to) => write!(f, "closed road from {from} to {to}"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
