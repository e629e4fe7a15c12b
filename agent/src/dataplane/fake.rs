//! The data plane in memory: applies plans as the kernel would, refuses what the kernel refuses, and walks packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::plan::{Element, Op, Plan};
use super::size::ChainSize;
use crate::model::{Frontend, IfName, Ruleset, Slots, VipCidr};

/// Why a plan cannot be applied; the kernel's errno in brackets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FakeError {
    /// The element to delete is not there, or has another value (ENOENT).
    #[error("cannot delete {0}: it is not there")]
    Absent(Element),
    /// The element to add is there already (EEXIST).
    #[error("cannot add {0}: its key is there already")]
    Exists(Element),
}

/// What becomes of a connection's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to this endpoint.
    Dnat(SocketAddrV4),
    /// It is refused: TCP reset or ICMP port unreachable.
    Refuse,
    /// It is none of the mesh's.
    Untouched,
}

/// The sets and maps, as the kernel would hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fake {
    services: BTreeMap<Frontend, ChainSize>,
    slots: BTreeMap<(Frontend, u32), SocketAddrV4>,
    bridges: BTreeSet<IfName>,
    same_bridge: BTreeSet<IfName>,
    hairpin: BTreeSet<Ipv4Addr>,
    resolvers: BTreeSet<Ipv4Addr>,
}

impl Fake {
    /// Applies a whole plan, or nothing of it.
    ///
    /// # Errors
    /// The first change that the kernel would refuse.
    pub(super) fn apply(&mut self, plan: &Plan) -> Result<(), FakeError> {
        let mut next = self.clone();
        for op in &plan.ops {
            match op {
                Op::Add(element) if !next.add(element) => return Err(FakeError::Exists(element.clone())),
                Op::Delete(element) if !next.delete(element) => return Err(FakeError::Absent(element.clone())),
                Op::Add(_) | Op::Delete(_) => {}
            }
        }
        *self = next;
        Ok(())
    }

    /// The ruleset that it holds.
    #[must_use]
    pub(super) fn ruleset(&self) -> Ruleset {
        let slots = |frontend: Frontend| self.slots.range((frontend, 0)..=(frontend, u32::MAX)).map(|(_, to)| *to);
        Ruleset {
            frontends: self.services.keys().map(|frontend| (*frontend, slots(*frontend).collect::<Slots>())).collect(),
            locals: self.hairpin.iter().copied().collect(),
            bridges: self.bridges.iter().cloned().collect(),
            resolvers: self.resolvers.iter().copied().collect(),
        }
    }

    /// Walks the first packet of a connection from a bridge or from the host itself; `draw(n)` picks a number below
    /// `n`.
    pub(super) fn dial(&self, range: VipCidr, to: Frontend, mut draw: impl FnMut(u32) -> u32) -> Verdict {
        let slot = |index| self.slots.get(&(to, index)).copied();
        if !range.net().contains(&to.vip) {
            return Verdict::Untouched;
        }
        let Some(size) = self.services.get(&to) else {
            return Verdict::Refuse;
        };
        let drawn = (0..size.draws()).find_map(|_| slot(draw(size.get())));
        drawn.or_else(|| slot(0)).map_or(Verdict::Refuse, Verdict::Dnat)
    }

    fn add(&mut self, element: &Element) -> bool {
        match element {
            Element::Service(frontend, size) => insert(&mut self.services, *frontend, *size),
            Element::Slot(frontend, slot, to) => insert(&mut self.slots, (*frontend, *slot), *to),
            Element::Bridge(name) => self.bridges.insert(name.clone()),
            Element::SameBridge(name) => self.same_bridge.insert(name.clone()),
            Element::Hairpin(address) => self.hairpin.insert(*address),
            Element::Resolver(address) => self.resolvers.insert(*address),
        }
    }

    fn delete(&mut self, element: &Element) -> bool {
        match element {
            Element::Service(frontend, size) => self.services.remove(frontend) == Some(*size),
            Element::Slot(frontend, slot, to) => self.slots.remove(&(*frontend, *slot)) == Some(*to),
            Element::Bridge(name) => self.bridges.remove(name),
            Element::SameBridge(name) => self.same_bridge.remove(name),
            Element::Hairpin(address) => self.hairpin.remove(address),
            Element::Resolver(address) => self.resolvers.remove(address),
        }
    }
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let absent = !map.contains_key(&key);
    if absent {
        map.insert(key, value);
    }
    absent
}
