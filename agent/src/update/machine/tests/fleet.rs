//! Two nodes that take turns, and tell each other.

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{Fleet, Shared, chaos};
use super::*;

/// Two nodes to which the same bad version is offered.
fn two(max_at_once: usize) -> (Shared, World, World) {
    let fleet = Fleet::shared(max_at_once);
    let mut nodes = ["node-a", "node-b"].map(|node| World::of(node, fleet.clone()));
    nodes.iter_mut().for_each(|node| node.offer(true, false));
    let [a, b] = nodes;
    (fleet, a, b)
}

#[test]
fn what_was_bad_on_one_node_is_not_begun_on_another() {
    let (fleet, mut a, mut b) = two(1);
    reach(&mut a, ProgressKind::Preparing);
    run(&mut b, 30);
    assert!(matches!(b.kind(), ProgressKind::Standby | ProgressKind::Locking), "it is not its turn");
    for _ in 0..CALM {
        a.happens(Chaos::None);
        b.happens(Chaos::None);
    }
    assert_eq!(ends(&a), [(End::RolledBack, 1)].into());
    assert!(b.state.memory.history.is_empty());
    let Progress::Standby(Standby { reason: Some(Reason::Idle(why)), .. }) = &b.state.progress else { panic!() };
    assert!(why.contains("1.21.0 is refused") && why.contains("node-a"), "{why}");
    assert_eq!((a.version_lock.as_str(), b.version_lock.as_str()), ("1.20.0", "latest"));
    assert!(fleet.lock().unwrap().holders.is_empty());
}

#[test]
fn what_turns_out_bad_while_another_node_drains_is_called_off_there() {
    let (fleet, mut a, mut b) = two(2);
    reach(&mut b, ProgressKind::Draining);
    reach(&mut a, ProgressKind::RebootingBack);
    assert_eq!(fleet.lock().unwrap().last_word(&version(21)), Some(true), "told before the host reboots");
    run(&mut b, CALM);
    assert_eq!(ends(&b), [(End::Withdrawn, 1)].into());
    assert_eq!(b.running(), version(20));
    assert!(b.state.memory.history[0].why.starts_with("node-a refused it"));
}

#[test]
fn whoever_allows_a_version_allows_it_everywhere_whatever_the_clocks_say() {
    let (fleet, mut a, mut b) = two(1);
    // The node that finds it bad is a day ahead.
    a.happens(Chaos::Hours(24));
    run(&mut a, CALM);
    assert_eq!(ends(&a), [(End::RolledBack, 1)].into());
    run(&mut b, 30);
    b.happens(Chaos::Allow);
    reach(&mut b, ProgressKind::Preparing);
    assert_eq!(fleet.lock().unwrap().last_word(&version(21)), Some(false));
    // Not by the node alone that was asked, and not for longer than it proves bad again.
    run(&mut b, CALM);
    assert_eq!(ends(&b), [(End::RolledBack, 1)].into());
    assert_eq!(fleet.lock().unwrap().last_word(&version(21)), Some(true));
    run(&mut a, CALM);
    assert_eq!(ends(&a), [(End::RolledBack, 1)].into());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The world checks before every step towards a reboot that nothing the fleet had said at the last look speaks
    /// against it.
    #[test]
    fn no_disturbance_of_two_nodes_has_one_take_what_the_fleet_refuses(
        max in 1..3_usize,
        happenings in vec((any::<bool>(), chaos()), 0..600),
    ) {
        let (fleet, mut a, mut b) = two(max);
        for (first, chaos) in happenings {
            let node = if first { &mut a } else { &mut b };
            node.happens(chaos);
        }
        for node in [&mut a, &mut b] {
            invariants::calm_down(node);
        }
        prop_assert!(fleet.lock().unwrap().holders.is_empty(), "{}\n{}", a.story(), b.story());
    }
}
