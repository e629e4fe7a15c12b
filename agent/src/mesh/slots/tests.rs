use proptest::prelude::*;

use super::*;

fn weight(n: u8) -> Weight {
    n.to_string().parse().unwrap()
}

fn endpoints(weights: &[u8]) -> Vec<(SocketAddr, Weight)> {
    let address = |i: usize| SocketAddr::new((0x0a00_0000 + u32::try_from(i).unwrap()).to_be_bytes().into(), 8080);
    weights.iter().enumerate().map(|(i, &w)| (address(i), weight(w))).collect()
}

/// The furthest that a share lies from its weight's, relative to the latter.
fn worst(weights: &[u8]) -> (usize, f64) {
    let endpoints = endpoints(weights);
    let slots = assign(&endpoints).unwrap();
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let mut taken: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    for slot in slots.iter() {
        *taken.entry(*slot).or_default() += 1;
    }
    let off = endpoints.iter().map(|(address, weight)| {
        let fair = f64::from(weight.get()) / total;
        let share = f64::from(taken.get(address).copied().unwrap_or(0)) / slots.len() as f64;
        (share - fair).abs() / fair
    });
    (slots.len(), off.fold(0.0, f64::max))
}

#[test]
fn equal_endpoints_take_one_slot_each() {
    for n in [1, 2, 3, 7, 64, 65, 2000] {
        let (slots, worst) = worst(&vec![100; n]);
        assert_eq!(slots, n);
        assert!(worst < 1e-9);
    }
}

#[test]
fn a_service_takes_as_few_slots_as_its_weights_allow() {
    assert_eq!(worst(&[1, 3]).0, 4);
    assert_eq!(worst(&[50, 100]).0, 3);
    // 1 % against 99 %: 96 slots give the lightest 1.04 %.
    assert_eq!(worst(&[1, 99]).0, 96);
    // Weights within the tolerance of each other count as equal.
    assert_eq!(worst(&[99, 100]).0, 2);
}

#[test]
fn nobody_gives_nothing() {
    assert_eq!(assign(&[]), None);
}

#[test]
fn when_the_weights_ask_for_too_many_slots_everyone_still_has_one() {
    let weights: Vec<u8> = (0..5000).map(|i| if i == 0 { 1 } else { 99 + u8::try_from(i % 2).unwrap() }).collect();
    let (slots, _) = worst(&weights);
    assert_eq!(slots, MAX_SLOTS as usize);
    let taken: std::collections::BTreeSet<_> = assign(&endpoints(&weights)).unwrap().iter().copied().collect();
    assert_eq!(taken.len(), 5000);
}

proptest! {
    #[test]
    fn every_share_is_within_the_tolerance(weights in prop::collection::vec(1u8..=100, 1..300)) {
        let (slots, worst) = worst(&weights);
        prop_assert!(worst <= 0.05 + 1e-9, "{slots} slots are off by {worst}");
        prop_assert!(slots <= weights.iter().map(|&w| usize::from(w)).sum());
    }

    #[test]
    fn the_same_endpoints_always_take_the_same_slots(weights in prop::collection::vec(1u8..=100, 1..100)) {
        prop_assert_eq!(assign(&endpoints(&weights)), assign(&endpoints(&weights)));
    }
}
