//! From a plan's changes to changes of elements. Pure.
//!
//! Another value for a key that is there is a delete, then an add.

use std::net::SocketAddr;

use super::element::{Element, Op};
use super::size::{LARGEST, chain_for};
use crate::dataplane::plan::{Change, Member, Plan};
use crate::model::{Family, Frontend, Slots};

/// The changes of elements that a plan comes down to in the table of a family, in order.
#[must_use]
pub(super) fn ops(plan: &Plan, family: Family) -> Vec<Op> {
    let mut ops = Vec::new();
    for change in &plan.changes {
        match change {
            Change::Serve { frontend, old, new } if frontend.family() == family => {
                serve(&mut ops, *frontend, old.as_ref(), new.as_ref());
            }
            Change::Serve { .. } => {}
            Change::Add(member) => ops.extend(elements(member, family).map(Op::Add)),
            Change::Remove(member) => ops.extend(elements(member, family).map(Op::Delete)),
        }
    }
    ops
}

/// The elements that a member of a ruleset's sets has in the table of a family.
fn elements(member: &Member, family: Family) -> impl Iterator<Item = Element> {
    let elements = match member {
        Member::Bridge(name) => vec![Element::Bridge(name.clone()), Element::SameBridge(name.clone())],
        Member::Local(address) => vec![Element::Hairpin(*address)],
        Member::Resolver(address, port) => vec![Element::Resolver(*address, *port)],
        Member::HostResolver(address, port) => vec![Element::HostResolver(*address, *port)],
        Member::Uncaptured(address) => vec![Element::Uncaptured(*address)],
        Member::Closed(from, to) => vec![Element::Closed(from.clone(), to.clone())],
    };
    elements.into_iter().filter(move |element| element.family().is_none_or(|of| of == family))
}

fn serve(ops: &mut Vec<Op>, frontend: Frontend, old: Option<&Slots>, new: Option<&Slots>) {
    let chain = |slots: Option<&Slots>| slots.map(|slots| chain_for(slots.len()));
    if chain(old) != chain(new) {
        ops.extend(chain(old).map(|size| Op::Delete(Element::Service(frontend, size))));
        ops.extend(chain(new).map(|size| Op::Add(Element::Service(frontend, size))));
    }
    let (mut old, mut new) = (slots(old), slots(new));
    for slot in 0..LARGEST {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                ops.extend(old.map(|endpoint| Op::Delete(Element::Slot(frontend, slot, endpoint))));
                ops.extend(new.map(|endpoint| Op::Add(Element::Slot(frontend, slot, endpoint))));
            }
        }
    }
}

fn slots(slots: Option<&Slots>) -> impl Iterator<Item = SocketAddr> {
    slots.into_iter().flat_map(|slots| slots.iter().copied())
}

#[cfg(test)]
mod tests;
