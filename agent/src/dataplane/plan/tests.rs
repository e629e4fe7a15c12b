use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dataplane::fake::{Fake, FakeError, Verdict};
use crate::dataplane::size::{EXACT, REDRAWS};
use crate::model::{L4, VipCidr};

fn range() -> VipCidr {
    "198.19.0.0/16".parse().unwrap()
}

fn frontend(index: u32) -> Frontend {
    Frontend { vip: range().nth(index), l4: L4::Tcp, port: NonZeroU16::new(80).unwrap() }
}

fn endpoint(index: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + index), 8080)
}

fn endpoints(count: u32) -> Slots {
    (0..count).map(endpoint).collect()
}

fn with(frontends: impl IntoIterator<Item = (u32, u32)>) -> Ruleset {
    let frontends = frontends.into_iter().map(|(index, count)| (frontend(index), endpoints(count)));
    Ruleset { frontends: frontends.collect(), ..Ruleset::default() }
}

fn rulesets() -> impl Strategy<Value = Ruleset> {
    let l4 = prop_oneof![Just(L4::Tcp), Just(L4::Udp)];
    let key = (0..6_u32, l4, 1..4_u16).prop_map(|(index, l4, port)| Frontend {
        port: NonZeroU16::new(port).unwrap(),
        l4,
        ..frontend(index)
    });
    let slots = prop::collection::vec((0..5_u32).prop_map(endpoint), 1..70).prop_map(Slots::from);
    let addresses = || prop::collection::btree_set((0..6_u32).prop_map(Ipv4Addr::from), 0..4);
    let bridges = prop::collection::btree_set("br-[a-c]", 0..3);
    (prop::collection::btree_map(key, slots, 0..8), addresses(), bridges, addresses()).prop_map(
        |(frontends, locals, bridges, resolvers)| Ruleset {
            frontends: frontends.into_iter().collect(),
            locals: locals.into_iter().collect(),
            bridges: bridges.iter().filter_map(|name| IfName::new(name)).collect(),
            resolvers: resolvers.into_iter().collect(),
        },
    )
}

fn apply(to: &Ruleset, from: &Ruleset) -> Result<Fake, FakeError> {
    let mut fake = Fake::default();
    fake.apply(&plan(from, &Ruleset::default()))?;
    fake.apply(&plan(to, from))?;
    Ok(fake)
}

proptest! {
    #[test]
    fn a_plan_leads_from_any_ruleset_to_any_other(from in rulesets(), to in rulesets()) {
        let fake = apply(&to, &from).unwrap();
        prop_assert_eq!(fake.ruleset(), to.clone());
        prop_assert_eq!(fake, apply(&to, &Ruleset::default()).unwrap(), "whatever was there before");
    }

    #[test]
    fn equal_rulesets_need_nothing(ruleset in rulesets()) {
        let rebuilt = Ruleset {
            frontends: ruleset.frontends.iter().map(|(to, slots)| (*to, Arc::from(&slots[..]))).collect(),
            ..ruleset.clone()
        };
        prop_assert!(plan(&rebuilt, &ruleset).is_empty());
    }

    #[test]
    fn every_connection_finds_an_endpoint_or_a_refusal(ruleset in rulesets(), index in 0..8_u32, seed in any::<u32>()) {
        let fake = apply(&ruleset, &Ruleset::default()).unwrap();
        let mut draws = seed;
        let verdict = fake.dial(range(), frontend(index), |below| {
            draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            draws % below
        });
        match ruleset.frontends.get(&frontend(index)) {
            Some(slots) => prop_assert!(matches!(verdict, Verdict::Dnat(to) if slots.contains(&to))),
            None => prop_assert_eq!(verdict, Verdict::Refuse),
        }
    }
}

#[test]
fn one_slot_of_many_is_two_changes() {
    let before = with((0..1000).map(|index| (index, 4)));
    let mut after = before.clone();
    let slots: Slots = [endpoint(0), endpoint(9), endpoint(2), endpoint(3)].into();
    after.frontends.insert(frontend(500), slots);
    let plan = plan(&after, &before);
    let expected = [
        Op::Delete(Element::Slot(frontend(500), 1, endpoint(1))),
        Op::Add(Element::Slot(frontend(500), 1, endpoint(9))),
    ];
    assert_eq!(plan.ops, expected);
    assert!(plan.retires_slots());
}

#[test]
fn growing_retires_nobody() {
    assert!(!plan(&with([(1, 4)]), &with([(1, 3)])).retires_slots());
}

#[test]
fn what_the_kernel_would_refuse_is_refused_and_changes_nothing() {
    let (one, two) = (with([(1, 1)]), with([(2, 1)]));
    let mut fake = apply(&one, &Ruleset::default()).unwrap();
    let before = fake.clone();
    assert!(matches!(fake.apply(&plan(&one, &Ruleset::default())), Err(FakeError::Exists(_))));
    assert!(matches!(fake.apply(&plan(&Ruleset::default(), &two)), Err(FakeError::Absent(_))));
    assert_eq!(fake, before);
}

#[test]
fn other_addresses_are_not_ours() {
    let outside = Frontend { vip: Ipv4Addr::new(8, 8, 8, 8), ..frontend(1) };
    assert_eq!(Fake::default().dial(range(), outside, |_| 0), Verdict::Untouched);
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
    let fake = apply(&with([(1, LARGEST + 5)]), &Ruleset::default()).unwrap();
    assert_eq!(fake.ruleset().frontends[&frontend(1)].len(), usize::try_from(LARGEST).unwrap());
}

#[test]
fn the_fake_spreads_evenly_over_a_chain_that_is_not_full() {
    let fake = apply(&with([(1, 65)]), &Ruleset::default()).unwrap();
    let mut counts: BTreeMap<SocketAddrV4, u32> = BTreeMap::new();
    let mut state = 1_u64;
    for _ in 0..65_000 {
        let draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from((state >> 33) % u64::from(below)).unwrap()
        };
        let Verdict::Dnat(to) = fake.dial(range(), frontend(1), draw) else { panic!("refused") };
        *counts.entry(to).or_default() += 1;
    }
    assert!(counts.len() == 65 && counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
}
