//! Elements as they come out of the kernel, in any order, and the ruleset that they amount to. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use imbl::{OrdMap, OrdSet};

use super::element::Element;
use super::size::{ChainSize, chain_for};
use crate::model::{Family, Frontend, IfName, Ruleset, Slots};

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Contents {
    services: OrdMap<Frontend, ChainSize>,
    slots: BTreeMap<(Frontend, u32), SocketAddr>,
    ruleset: Ruleset,
    /// What the tables say of bridges: each must say the same.
    bridges: BTreeMap<Family, [OrdSet<IfName>; 2]>,
    closed: BTreeMap<Family, OrdSet<(IfName, IfName)>>,
}

impl Contents {
    /// A family has a table, whatever is in it.
    pub(super) fn begin(&mut self, family: Family) {
        self.bridges.entry(family).or_default();
        self.closed.entry(family).or_default();
    }

    /// Takes up an element of a family's table.
    pub(super) fn take(&mut self, family: Family, element: Element) {
        let [bridges, same_bridge] = self.bridges.entry(family).or_default();
        match element {
            Element::Service(frontend, size) => drop(self.services.insert(frontend, size)),
            Element::Slot(frontend, slot, to) => drop(self.slots.insert((frontend, slot), to)),
            Element::Bridge(name) => drop(bridges.insert(name)),
            Element::SameBridge(name) => drop(same_bridge.insert(name)),
            Element::Hairpin(address) => drop(self.ruleset.locals.insert(address)),
            Element::Resolver(address, port) => drop(self.ruleset.resolvers.insert(address, port)),
            Element::HostResolver(address, port) => drop(self.ruleset.host_resolvers.insert(address, port)),
            Element::Uncaptured(address) => drop(self.ruleset.uncaptured.insert(address)),
            Element::Closed(from, to) => drop(self.closed.entry(family).or_default().insert((from, to))),
        }
    }

    /// The ruleset that has just these elements, if there is one.
    pub(super) fn ruleset(mut self) -> Option<Ruleset> {
        let mut frontends: BTreeMap<Frontend, Vec<SocketAddr>> = BTreeMap::new();
        for ((frontend, slot), to) in self.slots {
            let slots = frontends.entry(frontend).or_default();
            if usize::try_from(slot).ok()? != slots.len() {
                return None;
            }
            slots.push(to);
        }
        let sizes = frontends.iter().map(|(frontend, slots)| (*frontend, chain_for(slots.len())));
        if sizes.collect::<OrdMap<_, _>>() != self.services {
            return None;
        }
        let mut bridges = self.bridges.into_values().flatten();
        self.ruleset.bridges = bridges.next().unwrap_or_default();
        if bridges.any(|others| others != self.ruleset.bridges) {
            return None;
        }
        let mut closed = self.closed.into_values();
        self.ruleset.closed = closed.next().unwrap_or_default();
        if closed.any(|others| others != self.ruleset.closed) {
            return None;
        }
        let frontends = frontends.into_iter().map(|(frontend, slots)| (frontend, Slots::from(slots)));
        self.ruleset.frontends = frontends.collect();
        Some(self.ruleset)
    }
}
