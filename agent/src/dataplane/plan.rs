//! What to change in the kernel's sets and maps so that what is applied becomes what is desired. Pure.
//!
//! Takes time in proportion to what changed: persistent maps skip what they share.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use imbl::ordmap::DiffItem as MapChange;
use imbl::ordset::DiffItem as SetChange;

use super::size::{ChainSize, LARGEST, chain_for};
use crate::model::{Frontend, IfName, Ruleset, Slots};

/// An element of one of the data plane's sets and maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Element {
    /// Map `services`: how many slots the draw for this frontend is made over.
    Service(Frontend, ChainSize),
    /// Map `slots`: the endpoint that this slot of the frontend stands for.
    Slot(Frontend, u32, SocketAddrV4),
    /// Set `bridges`: clients' packets come from this interface.
    Bridge(IfName),
    /// Set `samebridge`: packets that leave by the bridge they came from.
    SameBridge(IfName),
    /// Set `hairpin`: an endpoint that may have dialled itself.
    Hairpin(Ipv4Addr),
    /// Set `resolvers`: queries to this name server are answered here.
    Resolver(Ipv4Addr),
}

/// One change of one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// The element is not there and is added.
    Add(Element),
    /// The element is there, with this value, and is deleted.
    Delete(Element),
}

/// Changes to be made together, in this order. Another value for a key that is there is a delete, then an add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The changes.
    pub(super) ops: Vec<Op>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Whether an endpoint leaves a slot: flows without a connection's end may then point at nobody.
    #[must_use]
    pub(super) fn retires_slots(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Delete(Element::Slot(..))))
    }

    fn add(&mut self, element: Element) {
        self.ops.push(Op::Add(element));
    }

    fn delete(&mut self, element: Element) {
        self.ops.push(Op::Delete(element));
    }

    /// `None` stands for a frontend that is not there.
    fn frontend(&mut self, frontend: Frontend, old: Option<&Slots>, new: Option<&Slots>) {
        let chain = |slots: Option<&Slots>| slots.map(|slots| chain_for(slots.len()));
        if chain(old) != chain(new) {
            self.ops.extend(chain(old).map(|size| Op::Delete(Element::Service(frontend, size))));
            self.ops.extend(chain(new).map(|size| Op::Add(Element::Service(frontend, size))));
        }
        let (mut old, mut new) = (slots(old), slots(new));
        for index in 0..LARGEST {
            match (old.next(), new.next()) {
                (None, None) => break,
                (old, new) if old == new => {}
                (old, new) => {
                    self.ops.extend(old.map(|endpoint| Op::Delete(Element::Slot(frontend, index, endpoint))));
                    self.ops.extend(new.map(|endpoint| Op::Add(Element::Slot(frontend, index, endpoint))));
                }
            }
        }
    }
}

fn slots(slots: Option<&Slots>) -> impl Iterator<Item = SocketAddrV4> {
    slots.into_iter().flat_map(|slots| slots.iter().copied())
}

/// The changes that make `applied` into `desired`.
#[must_use]
pub(super) fn plan(desired: &Ruleset, applied: &Ruleset) -> Plan {
    let mut plan = Plan::default();
    for change in applied.bridges.diff(&desired.bridges) {
        match change {
            SetChange::Add(name) => {
                plan.add(Element::Bridge(name.clone()));
                plan.add(Element::SameBridge(name.clone()));
            }
            SetChange::Remove(name) => {
                plan.delete(Element::Bridge(name.clone()));
                plan.delete(Element::SameBridge(name.clone()));
            }
        }
    }
    for change in applied.locals.diff(&desired.locals) {
        match change {
            SetChange::Add(address) => plan.add(Element::Hairpin(*address)),
            SetChange::Remove(address) => plan.delete(Element::Hairpin(*address)),
        }
    }
    for change in applied.resolvers.diff(&desired.resolvers) {
        match change {
            SetChange::Add(address) => plan.add(Element::Resolver(*address)),
            SetChange::Remove(address) => plan.delete(Element::Resolver(*address)),
        }
    }
    for change in applied.frontends.diff(&desired.frontends) {
        match change {
            MapChange::Add(frontend, new) => plan.frontend(*frontend, None, Some(new)),
            MapChange::Update { old: (frontend, old), new: (_, new) } => {
                plan.frontend(*frontend, Some(old), Some(new));
            }
            MapChange::Remove(frontend, old) => plan.frontend(*frontend, Some(old), None),
        }
    }
    plan
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(element) => write!(f, "add element {element}"),
            Self::Delete(element) => write!(f, "delete element {element}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(Frontend { vip, l4, port }, size) => {
                write!(f, "services {{ {vip} . {l4} . {port} : {} }}", size.get())
            }
            Self::Slot(Frontend { vip, l4, port }, slot, endpoint) => {
                write!(f, "slots {{ {vip} . {l4} . {port} . {slot} : {endpoint} }}")
            }
            Self::Bridge(name) => write!(f, "bridges {{ {name} }}"),
            Self::SameBridge(name) => write!(f, "samebridge {{ {name} . {name} }}"),
            Self::Hairpin(address) => write!(f, "hairpin {{ {address} . {address} }}"),
            Self::Resolver(address) => write!(f, "resolvers {{ {address} }}"),
        }
    }
}

#[cfg(test)]
mod tests;
