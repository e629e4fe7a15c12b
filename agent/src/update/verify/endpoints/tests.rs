use proptest::prelude::*;

use super::super::tests::{endpoint, endpoints};
use super::*;

fn counts(of: &[(&str, usize)]) -> Healthy {
    of.iter().map(|(service, count)| ((*service).to_owned(), *count)).collect()
}

fn before(of: &[(&str, usize)]) -> Baseline {
    Baseline { healthy: counts(of), failed: Vec::new() }
}

fn passes(before_all: usize, now: usize, min_healthy: f64) -> bool {
    compare(&before(&[("prod/a", before_all)]), Some(&counts(&[("prod/a", now)])), min_healthy).ok
}

#[test]
fn only_the_healthy_are_counted_by_service() {
    let own = endpoints([
        endpoint("prod/orders", 1, EndpointState::Healthy),
        endpoint("prod/orders", 2, EndpointState::Healthy),
        endpoint("prod/orders", 3, EndpointState::Starting),
        endpoint("prod/cart", 4, EndpointState::Unhealthy),
        endpoint("prod/cart", 5, EndpointState::Draining),
        endpoint("shared/users", 6, EndpointState::Healthy),
    ]);
    assert_eq!(healthy(&own), counts(&[("prod/orders", 2), ("shared/users", 1)]));
}

#[test]
fn the_fraction_means_what_was_written() {
    assert!(passes(10, 9, 0.9) && !passes(10, 8, 0.9));
    assert!(passes(100, 7, 0.07) && !passes(100, 6, 0.07));
    assert!(passes(1, 1, 0.9) && !passes(1, 0, 0.9), "the only endpoint counts whole");
    assert!(passes(3, 3, 1.0) && !passes(3, 2, 1.0));
    assert!(passes(3, 0, 0.0));
    assert!(passes(0, 0, 1.0));
}

#[test]
fn other_services_may_run_here_than_before() {
    let check = compare(&before(&[("prod/a", 2), ("prod/b", 2)]), Some(&counts(&[("prod/c", 4)])), 1.0);
    assert!(check.ok);
    assert_eq!(
        &*check.found,
        "4 healthy, 4 before the update, at least 4 wanted; fewer than before: prod/a 0 of 2, prod/b 0 of 2"
    );
}

#[test]
fn losses_are_listed_the_greatest_first_and_only_some() {
    let check = compare(
        &before(&[("prod/a", 2), ("prod/b", 5), ("prod/c", 3)]),
        Some(&counts(&[("prod/a", 1), ("prod/c", 3)])),
        0.9,
    );
    assert!(!check.ok);
    assert_eq!(
        &*check.found,
        "4 healthy, 10 before the update, at least 9 wanted; fewer than before: prod/b 0 of 5, prod/a 1 of 2"
    );

    let many: Healthy = (0..20).map(|n| (format!("prod/s{n:02}"), 1)).collect();
    let check = compare(&Baseline { healthy: many, failed: Vec::new() }, Some(&Healthy::new()), 0.5);
    assert!(check.found.ends_with("prod/s07 0 of 1 and 12 more"), "{}", check.found);
}

#[test]
fn without_a_baseline_there_is_nothing_to_compare_with() {
    for now in [None, Some(&counts(&[])), Some(&counts(&[("prod/a", 1)]))] {
        let check = compare(&Baseline::default(), now, 1.0);
        assert!(check.ok && check.found.starts_with("nothing to compare with"), "{check}");
    }
}

#[test]
fn what_is_not_known_is_not_well() {
    let check = compare(&before(&[("prod/a", 2)]), None, 0.0);
    assert!(!check.ok);
}

proptest! {
    /// Against whole numbers: `percent` of `before` rounded up.
    #[test]
    fn every_percentage_is_exact(before in 1_usize..100_000, percent in 0_usize..=100, off in -2_isize..=2) {
        let exact = (before * percent).div_ceil(100);
        let now = exact.saturating_add_signed(off);
        prop_assert_eq!(needed(before, percent as f64 / 100.0), exact);
        prop_assert_eq!(passes(before, now, percent as f64 / 100.0), now >= exact);
    }

    #[test]
    fn all_that_was_is_always_enough(services in prop::collection::btree_map("[a-z]{1,4}", 0_usize..50, 0..6), min in 0.0..=1.0) {
        let baseline = Baseline { healthy: services.clone(), failed: Vec::new() };
        let check = compare(&baseline, Some(&services), min);
        prop_assert!(check.ok, "{}", check);
        prop_assert!(!check.found.contains("fewer"));
    }
}
