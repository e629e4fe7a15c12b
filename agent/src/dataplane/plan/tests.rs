use std::num::NonZeroU16;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dataplane::backend::{Backend, Found};
use crate::dataplane::memory::{Client, Fate, Memory, MemoryError, Store};
use crate::model::{L4, VipRanges};
use std::net::SocketAddr;

fn frontend(v6: bool, index: u32) -> Frontend {
    let range = VipRanges::default().iter().nth(usize::from(v6)).unwrap();
    Frontend { vip: range.nth(index), l4: L4::Tcp, port: NonZeroU16::new(80).unwrap() }
}

fn endpoint(v6: bool, index: u32) -> SocketAddr {
    let v4: IpAddr = (0x0a00_0000 + index).to_be_bytes().into();
    SocketAddr::new(if v6 { [0xfd00, 0, 0, 0, 0, 0, 0, index as u16].into() } else { v4 }, 8080)
}

fn endpoints(count: u32) -> Slots {
    (0..count).map(|index| endpoint(false, index)).collect()
}

fn with(frontends: impl IntoIterator<Item = (u32, u32)>) -> Ruleset {
    let frontends = frontends.into_iter().map(|(index, count)| (frontend(false, index), endpoints(count)));
    Ruleset { frontends: frontends.collect(), ..Ruleset::default() }
}

/// Rulesets of both families.
pub(in crate::dataplane) fn rulesets() -> impl Strategy<Value = Ruleset> {
    let l4 = prop_oneof![Just(L4::Tcp), Just(L4::Udp)];
    let served = (any::<bool>(), 0..6_u32, l4, 1..4_u16, prop::collection::vec(0..5_u32, 1..70)).prop_map(
        |(v6, index, l4, port, slots)| {
            let frontend = Frontend { port: NonZeroU16::new(port).unwrap(), l4, ..frontend(v6, index) };
            (frontend, slots.into_iter().map(|index| endpoint(v6, index)).collect::<Slots>())
        },
    );
    let address = (any::<bool>(), 0..6_u32).prop_map(|(v6, index)| endpoint(v6, index).ip());
    let addresses = prop::collection::btree_set(address, 0..4);
    let bridges = prop::collection::btree_set("br-[a-c]", 0..3);
    let address = (any::<bool>(), 0..6_u32).prop_map(|(v6, index)| endpoint(v6, index).ip());
    let ports = prop::collection::btree_map(address, 15053..15056_u16, 0..4);
    (prop::collection::vec(served, 0..8), addresses.clone(), bridges, [ports.clone(), ports], addresses).prop_map(
        |(frontends, locals, bridges, [resolvers, host_resolvers], uncaptured)| Ruleset {
            frontends: frontends.into_iter().collect(),
            locals: locals.into_iter().collect(),
            closed: bridges.iter().filter_map(|name| IfName::new(name).zip(IfName::new("br-a"))).collect(),
            bridges: bridges.iter().filter_map(|name| IfName::new(name)).collect(),
            resolvers: resolvers.into_iter().collect(),
            host_resolvers: host_resolvers.into_iter().collect(),
            uncaptured: uncaptured.into_iter().collect(),
            ..Ruleset::default()
        },
    )
}

fn holding(ruleset: &Ruleset) -> (Store, Memory) {
    let store = Store::default();
    let mut memory = Memory::open(&store);
    memory.install(ruleset, &[]).unwrap();
    (store, memory)
}

fn held(memory: &mut Memory) -> Ruleset {
    let Found::Ours(ruleset) = memory.adopt().unwrap() else { panic!("nothing") };
    ruleset
}

proptest! {
    #[test]
    fn a_plan_leads_from_any_ruleset_to_any_other(from in rulesets(), to in rulesets()) {
        let (_, mut memory) = holding(&from);
        memory.apply(&Plan::new(&to, &from)).unwrap();
        prop_assert_eq!(held(&mut memory), to);
    }

    #[test]
    fn equal_rulesets_need_nothing(ruleset in rulesets()) {
        let rebuilt = Ruleset {
            frontends: ruleset.frontends.iter().map(|(to, slots)| (*to, Arc::from(&slots[..]))).collect(),
            ..ruleset.clone()
        };
        prop_assert!(Plan::new(&rebuilt, &ruleset).is_empty());
    }

    #[test]
    fn every_connection_finds_an_endpoint_or_a_refusal(
        ruleset in rulesets(),
        v6 in any::<bool>(),
        index in 0..8_u32,
        seed in any::<usize>(),
    ) {
        let (store, _) = holding(&ruleset);
        let to = frontend(v6, index);
        let fate = store.walk(VipRanges::default(), Client::Container, to, |below| seed % below);
        match ruleset.frontends.get(&to) {
            Some(slots) => prop_assert!(matches!(fate, Fate::Reaches(at) if slots.contains(&at))),
            None => prop_assert_eq!(fate, Fate::IsRefused),
        }
    }
}

#[test]
fn one_service_of_many_is_one_change() {
    let before = with((0..1000).map(|index| (index, 4)));
    let mut after = before.clone();
    let slots: Slots = [0, 9, 2, 3].map(|index| endpoint(false, index)).into();
    let old = after.frontends.insert(frontend(false, 500), slots.clone());
    let plan = Plan::new(&after, &before);
    assert_eq!(plan.changes, [Change::Serve { frontend: frontend(false, 500), old, new: Some(slots) }]);
    assert!(plan.retires());
}

#[test]
fn growing_retires_nobody() {
    assert!(!Plan::new(&with([(1, 4)]), &with([(1, 3)])).retires());
    assert!(Plan::new(&with([(1, 2)]), &with([(1, 3)])).retires());
    assert!(Plan::new(&with([]), &with([(1, 3)])).retires());
}

#[test]
fn the_end_of_a_drain_retires_somebody_and_changes_nothing() {
    let served = with([(1, 1)]);
    let drains = Ruleset { draining: [endpoint(false, 7)].into_iter().collect(), ..served.clone() };
    assert!(!Plan::new(&drains, &served).retires());
    let over = Plan::new(&served, &drains);
    assert!(over.is_empty() && over.retires());
}

#[test]
fn what_the_kernel_would_refuse_is_refused_and_changes_nothing() {
    let (one, two) = (with([(1, 1)]), with([(2, 1)]));
    let (_, mut memory) = holding(&one);
    assert!(matches!(memory.apply(&Plan::new(&one, &Ruleset::default())), Err(MemoryError::Absent(_))));
    assert!(matches!(memory.apply(&Plan::new(&Ruleset::default(), &two)), Err(MemoryError::Absent(_))));
    let bridge = Ruleset { bridges: IfName::new("br0").into_iter().collect(), ..one.clone() };
    memory.apply(&Plan::new(&bridge, &one)).unwrap();
    assert!(matches!(memory.apply(&Plan::new(&bridge, &one)), Err(MemoryError::Exists(_))));
    assert_eq!(held(&mut memory), bridge);
}
