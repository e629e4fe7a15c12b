//! The state machine against a whole node in memory, however it is disturbed.

use self::world::{Chaos, World, ends, version};
use std::time::Duration;

use super::*;
use crate::config::UpdateSettings;

mod faults;
mod fleet;
mod invariants;
mod world;

/// Long enough for an update with everything that belongs to it.
const CALM: usize = 1200;

/// Goes on for so many steps, or until nothing more will happen.
fn run(world: &mut World, steps: usize) {
    let mut idle = 0;
    for _ in 0..steps {
        world.happens(Chaos::None);
        let at_rest = matches!(&world.state.progress, Progress::Standby(Standby { reason: Some(Reason::Idle(_)), .. }));
        idle = if at_rest { idle + 1 } else { 0 };
        if idle > 40 {
            break;
        }
    }
}

#[test]
fn a_good_update_is_kept() {
    let mut world = World::new();
    world.offer(true, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Good, 1)].into());
    assert!(world.is_free() && world.on_disk().update.is_none());
    assert_eq!(world.kind(), ProgressKind::Standby);
    assert!(world.state.memory.verdict.as_ref().is_some_and(|verdict| verdict.good));
}

#[test]
fn a_bad_update_is_taken_back_and_never_taken_again() {
    let mut world = World::new();
    world.offer(true, false);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into(), "{}", world.story());
    assert_eq!(world.version_lock, "1.20.0");
    assert!(policy::refusal(&world.state.memory, &version(21)).is_some());
    assert!(world.is_free());

    world.happens(Chaos::PowerCut);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into(), "once is enough");

    // A newer one is another matter, and the lock goes back to where it was.
    world.offer(true, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(22));
    assert_eq!(world.version_lock, "latest");
}

#[test]
fn what_does_not_boot_is_refused() {
    let mut world = World::new();
    world.offer(false, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::FellBack, 1)].into());
    assert_eq!(world.version_lock, "1.20.0");
    assert!(world.is_free());
}

#[test]
fn a_person_lifts_a_refusal() {
    let mut world = World::new();
    world.offer(true, false);
    run(&mut world, CALM);
    world.happens(Chaos::Allow);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 2)].into());
    assert!(world.state.memory.held.is_some(), "that was the last rollback");
    world.happens(Chaos::Allow);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 2)].into(), "held");
    assert_eq!(world.version_lock, "latest", "nothing is refused any more");
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 3)].into());
}

#[test]
fn without_a_rollback_left_a_bad_version_stays() {
    let mut world = World::new();
    world.state.settings = Arc::new(UpdateSettings { max_rollbacks: 0, ..(*world.state.settings).clone() });
    world.offer(true, false);
    while world.kind() != ProgressKind::Rebooting {
        world.happens(Chaos::None);
    }
    // The agent of the next boot reads its settings anew.
    while world.kind() != ProgressKind::Verifying {
        world.happens(Chaos::None);
    }
    world.state.settings = Arc::new(UpdateSettings { max_rollbacks: 0, ..(*world.state.settings).clone() });
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    assert!(world.state.memory.held.is_some() && world.is_free());
}

#[test]
fn the_journal_lost_while_a_verdict_is_open_leaves_no_lock_behind() {
    let mut world = World::new();
    world.offer(true, false);
    while world.kind() != ProgressKind::Verifying {
        world.happens(Chaos::None);
    }
    assert!(!world.is_free());
    world.lose_journal();
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21), "nobody knows what to go back to");
    assert!(world.is_free());
}

#[test]
fn a_bank_that_failed_to_boot_without_a_journal_is_a_persons_matter() {
    let mut world = World::new();
    world.offer(false, true);
    while world.kind() != ProgressKind::Rebooting {
        world.happens(Chaos::None);
    }
    world.happens(Chaos::PowerCut);
    world.lose_journal();
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert!(world.state.memory.held.as_ref().is_some_and(|held| held.why.contains("bank B failed to boot")));
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::FellBack, 1)].into(), "said once");
}

#[test]
fn a_version_that_kills_the_hosts_api_is_taken_back() {
    let mut world = at(true, true, ProgressKind::Rebooting);
    world.happens(Chaos::DeadApi(true));
    world.happens(Chaos::PowerCut);
    run(&mut world, 200);
    assert_eq!(world.kind(), ProgressKind::RebootingBack, "the boot loader is told; a reboot cannot be asked for");
    world.happens(Chaos::PowerCut);
    run(&mut world, 20);
    assert_eq!(world.running(), version(20));
    world.happens(Chaos::DeadApi(false));
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into());
    assert!(world.is_free());
}

#[test]
fn too_many_boots_without_a_verdict_are_a_verdict() {
    let mut world = World::new();
    world.offer(true, true);
    while world.kind() != ProgressKind::Verifying {
        world.happens(Chaos::None);
    }
    for _ in 0..10 {
        world.happens(Chaos::PowerCut);
        run(&mut world, 3);
    }
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into());
}

#[test]
fn an_event_out_of_place_is_an_error_and_changes_nothing() {
    let world = World::new();
    let now = Now { wall: world.wall, boot: Duration::from_secs(60) };
    let illegal = step(&world.state, Event::Rebooting(Ok(())), now).unwrap_err();
    assert_eq!(illegal, Illegal { at: ProgressKind::Starting, event: "reboot accepted" });
}

#[test]
fn a_newer_agents_journal_is_read_and_kept() {
    let newer = r#"{"running":"1.20.0","fancy":{"a":1},"held":null,
        "update":{"stage":"pondering","intent":{"from":"1.20.0","to":"1.21.0","bank":"A","boot":"x",
        "begun":"2026-11-01T00:00:00Z","mood":"good"}}}"#;
    let record: Record = serde_json::from_str(newer).unwrap();
    assert_eq!(record.update.as_ref().unwrap().stage, Checkpoint::Unknown);
    let state = State::new(world::settings(""), "node-a".into(), record);
    let again = serde_json::to_value(state.record()).unwrap();
    assert_eq!(again["fancy"]["a"], 1);
    assert_eq!(again["update"]["intent"]["mood"], "good");
}

/// A world in which an update of this kind got as far as that kind, if it does.
fn at(boots: bool, well: bool, kind: ProgressKind) -> World {
    let mut world = World::new();
    world.offer(boots, well);
    reach(&mut world, kind);
    world
}

fn reach(world: &mut World, kind: ProgressKind) {
    for _ in 0..200 {
        if world.kind() == kind {
            break;
        }
        world.happens(Chaos::None);
    }
}

/// A second update, so that the other bank holds what ran before the first.
fn second(kind: ProgressKind) -> World {
    let mut world = at(true, true, ProgressKind::Standby);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21));
    world.offer(true, true);
    reach(&mut world, kind);
    world
}
