use proptest::prelude::*;

use super::*;

fn id(n: usize) -> ContainerId {
    format!("c{n:04}").into()
}

fn costs(services: usize, each: usize) -> Arc<[usize]> {
    vec![each; services].into()
}

/// So many containers, each at its own bound of 32 services with 16 names.
fn full(containers: usize) -> Budget {
    let mut budget = Budget::default();
    for n in 0..containers {
        budget.want(&id(n), n as u64, costs(32, 16));
    }
    budget.settle();
    budget
}

#[test]
fn many_containers_each_at_its_bound_get_what_there_is_oldest_first() {
    let budget = full(100);
    let admitted: Vec<usize> = (0..100).map(|n| budget.admitted(&id(n))).collect();
    assert!(admitted[..16].iter().all(|n| *n == 32) && admitted[16..].iter().all(|n| *n == 0), "{admitted:?}");
    assert_eq!(budget.in_use(), BudgetUse { names: MAX_NAMES, limit: MAX_NAMES, refused: 84 * 32 });
}

#[test]
fn the_same_containers_get_the_same_in_whatever_order_they_come() {
    let mut budget = Budget::default();
    for n in (0..100).rev() {
        budget.want(&id(n), n as u64, costs(32, 16));
    }
    budget.settle();
    assert!((0..100).all(|n| budget.admitted(&id(n)) == full(100).admitted(&id(n))));
}

#[test]
fn an_excess_takes_nothing_from_anybody_and_waits_for_room() {
    let mut budget = full(16);
    // One that started before all the others, and was not there: another clock, or a restarted Docker.
    budget.want(&id(500), 0, costs(2, 1));
    assert_eq!(budget.settle(), [(id(500), 2)], "told once");
    budget.want(&id(600), 700, costs(1, 1));
    budget.settle();
    assert_eq!(budget.admitted(&id(500)) + budget.admitted(&id(600)), 0);
    assert!((0..16).all(|n| budget.admitted(&id(n)) == 32));
    budget.release(&id(3));
    assert_eq!(budget.settle(), [(id(500), 0), (id(600), 0)]);
    assert_eq!(budget.in_use().refused, 0);
    assert_eq!(budget.settle(), []);
}

#[test]
fn a_restart_keeps_the_place_and_another_wish_does_not() {
    let mut budget = full(17);
    budget.want(&id(0), 9000, costs(32, 16));
    budget.settle();
    assert_eq!(budget.admitted(&id(0)), 32, "the same, in another life");
    budget.want(&id(0), 9000, costs(0, 0));
    assert_eq!(budget.settle(), [(id(16), 0)]);
    assert_eq!(budget.admitted(&id(0)), 0);
}

proptest! {
    #[test]
    fn what_is_used_is_what_was_given(steps in prop::collection::vec((0..40usize, 0..33usize, 1..17usize), 0..200)) {
        let mut budget = Budget::default();
        for (n, services, each) in steps {
            budget.want(&id(n), n as u64, costs(services, each));
            budget.settle();
            let spent: usize = budget.wants.values().map(Want::spent).sum();
            prop_assert_eq!(budget.used, spent);
            prop_assert!(spent <= MAX_NAMES);
            prop_assert_eq!(budget.waiting.len(), budget.wants.values().filter(|want| want.refused() > 0).count());
        }
    }
}
