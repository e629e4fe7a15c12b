use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::dataplane::nft::contents::Contents;
use crate::dataplane::nft::size::{ChainSize, EXACT, REDRAWS};
use crate::dataplane::plan::tests::rulesets;
use crate::model::{L4, Ruleset, VipRanges};

/// A table's sets and maps as the kernel keeps them: a key once, with one value.
#[derive(Debug, Clone, Default, PartialEq)]
struct Sets(BTreeMap<Key, Element>);

type Key = (&'static str, Option<(Frontend, u32)>, Option<String>);

fn key(element: &Element) -> Key {
    match element {
        Element::Service(frontend, _) => ("services", Some((*frontend, 0)), None),
        Element::Slot(frontend, slot, _) => ("slots", Some((*frontend, *slot)), None),
        Element::Bridge(name) => ("bridges", None, Some(name.to_string())),
        Element::SameBridge(name) => ("samebridge", None, Some(name.to_string())),
        Element::Hairpin(address) => ("hairpin", None, Some(address.to_string())),
        Element::Resolver(address, _) => ("resolvers", None, Some(address.to_string())),
        Element::HostResolver(address, _) => ("hostresolvers", None, Some(address.to_string())),
        Element::Uncaptured(address) => ("uncaptured", None, Some(address.to_string())),
        Element::Closed(from, to) => ("closed", None, Some(format!("{from} . {to}"))),
    }
}

impl Sets {
    /// Panics where the kernel would refuse: EEXIST, ENOENT.
    fn apply(&mut self, ops: Vec<Op>) {
        for op in ops {
            match op {
                Op::Add(element) => assert_eq!(self.0.insert(key(&element), element), None),
                Op::Delete(element) => assert_eq!(self.0.remove(&key(&element)), Some(element)),
            }
        }
    }
}

/// Both families' tables after a plan from nothing to one ruleset, and from there to another.
fn tables(from: &Ruleset, to: &Ruleset) -> [Sets; 2] {
    Family::ALL.map(|family| {
        let mut sets = Sets::default();
        sets.apply(ops(&Plan::new(from, &Ruleset::default()), family));
        sets.apply(ops(&Plan::new(to, from), family));
        sets
    })
}

proptest! {
    #[test]
    fn the_tables_hold_just_what_is_desired_whatever_was_there_before(from in rulesets(), to in rulesets()) {
        let tables = tables(&from, &to);
        prop_assert_eq!(&tables, &self::tables(&Ruleset::default(), &to));
        let mut contents = Contents::default();
        for (family, sets) in Family::ALL.into_iter().zip(tables) {
            contents.begin(family);
            for element in sets.0.into_values() {
                prop_assert!(element.family().is_none_or(|of| of == family));
                contents.take(family, element);
            }
        }
        prop_assert_eq!(contents.ruleset(), Some(to), "and it is read as such");
    }
}

fn frontend(index: u32) -> Frontend {
    Frontend { vip: VipRanges::default().v4().nth(index), l4: L4::Tcp, port: 80.try_into().unwrap() }
}

fn endpoint(index: u32) -> SocketAddr {
    SocketAddr::new((0x0a00_0000 + index).to_be_bytes().into(), 8080)
}

fn with(index: u32, slots: Slots) -> Ruleset {
    Ruleset { frontends: [(frontend(index), slots)].into_iter().collect(), ..Ruleset::default() }
}

#[test]
fn one_slot_of_a_service_is_two_changes() {
    let before = with(500, (0..4).map(endpoint).collect());
    let after = with(500, [0, 9, 2, 3].map(endpoint).into());
    let expected = [
        Op::Delete(Element::Slot(frontend(500), 1, endpoint(1))),
        Op::Add(Element::Slot(frontend(500), 1, endpoint(9))),
    ];
    assert_eq!(ops(&Plan::new(&after, &before), Family::V4), expected);
    assert_eq!(ops(&Plan::new(&after, &before), Family::V6), []);
}

#[test]
fn sizes_fit_and_are_more_than_half_full() {
    for slots in (1..=300).chain([1023, 1024, 1025, 40_000, 65_536]) {
        let size = chain_for(slots);
        let total = usize::try_from(size.get()).unwrap();
        assert!(total >= slots && total < 2 * slots, "{slots} in {total}");
        assert_eq!(total == slots, slots <= 64 || slots.is_power_of_two());
        assert!(ChainSize::all().any(|known| known == size));
    }
    assert_eq!(chain_for(0).get(), 1);
    assert_eq!(chain_for(1 << 20).get(), LARGEST);
    assert!(0.5_f64.powi(i32::try_from(REDRAWS).unwrap()) < 1e-6);
    assert_eq!(ChainSize::all().count(), usize::try_from(EXACT).unwrap() + 10);
}

#[test]
fn slots_beyond_the_largest_chain_are_left_out() {
    let slots: Slots = (0..LARGEST + 5).map(endpoint).collect();
    let ops = ops(&Plan::new(&with(1, slots), &Ruleset::default()), Family::V4);
    let added = ops.iter().filter(|op| matches!(op, Op::Add(Element::Slot(..)))).count();
    assert_eq!(added, usize::try_from(LARGEST).unwrap());
}
