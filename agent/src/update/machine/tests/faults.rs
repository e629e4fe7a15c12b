//! Hosts that fail in the middle, and others who are at work on them.

use super::*;
use crate::update::drain::Availability;
use crate::update::summary;

#[test]
fn a_drain_does_not_last_for_ever() {
    let mut world = at(true, true, ProgressKind::Draining);
    world.happens(Chaos::DeadApi(true));
    run(&mut world, 2000);
    assert_eq!(world.kind(), ProgressKind::Withdrawing);
    assert_eq!(summary::availability(&world.state), Availability::Serving);
    let Progress::Updating { step: Step::Withdrawing { failure, .. }, .. } = &world.state.progress else { panic!() };
    assert!(failure.is_some(), "it says what it waits for");
    assert!(!world.is_free(), "what was staged is not settled");
    world.happens(Chaos::DeadApi(false));
    run(&mut world, 20);
    assert!(world.is_free());
}

#[test]
fn a_busy_updater_is_asked_again_at_the_next_look() {
    let mut world = World::new();
    world.offer(true, true);
    world.happens(Chaos::Locked(true));
    run(&mut world, 10);
    let status = summary::status(&world.state, world.now());
    assert!(!status.looking && status.why.contains("Busy"), "{status:?}");
    world.happens(Chaos::Locked(false));
    let freed = world.wall;
    while world.kind() != ProgressKind::Preparing {
        world.happens(Chaos::None);
        assert!(world.wall.duration_since(freed).as_secs() < 60, "{:?}", world.state.progress);
    }
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::Good, 1)].into());
}

#[test]
fn an_update_that_was_called_off_was_not_taken_back() {
    let mut world = second(ProgressKind::Preparing);
    world.happens(Chaos::DeadApi(true));
    run(&mut world, 5);
    assert_eq!(world.kind(), ProgressKind::Withdrawing, "the host could not even be asked to prepare");
    world.happens(Chaos::PowerCut);
    world.happens(Chaos::DeadApi(false));
    run(&mut world, 5);
    assert_eq!(ends(&world), [(End::Good, 1), (End::Withdrawn, 1)].into());
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(22));
}

#[test]
fn an_own_prepare_that_failed_is_nobody_elses_work() {
    let mut world = at(true, true, ProgressKind::Draining);
    world.happens(Chaos::Hold);
    run(&mut world, 20);
    assert_eq!(ends(&world), [(End::Withdrawn, 1)].into());
    // What was staged stays so until the next boot, and a newer version cannot be written over it.
    world.happens(Chaos::BadUpdog(true));
    world.offer(true, true);
    world.happens(Chaos::Resume);
    while ends(&world) != [(End::Withdrawn, 2)].into() {
        world.happens(Chaos::None);
    }
    world.happens(Chaos::BadUpdog(false));
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(22), "{:?}", world.state.progress);
}

#[test]
fn what_somebody_else_activates_stays_so() {
    let mut world = at(true, true, ProgressKind::Measuring);
    world.happens(Chaos::Foreign(2));
    run(&mut world, 60);
    assert_eq!(ends(&world), [(End::Withdrawn, 1)].into());
    let Progress::Standby(Standby { reason: Some(Reason::Waiting(why, _)), .. }) = &world.state.progress else {
        panic!()
    };
    assert_eq!(&**why, "somebody else told the next boot to take bank B");
}

#[test]
fn a_hold_is_heeded_until_the_host_reboots() {
    let mut world = at(true, true, ProgressKind::Rebooting);
    world.happens(Chaos::Fail);
    run(&mut world, 1);
    world.happens(Chaos::Hold);
    run(&mut world, 20);
    assert_eq!(ends(&world), [(End::Withdrawn, 1)].into());
    world.happens(Chaos::PowerCut);
    run(&mut world, 20);
    assert_eq!(world.running(), version(20), "it is undone");
}

#[test]
fn a_host_that_turns_out_to_have_one_bank_keeps_no_lock() {
    for kind in [ProgressKind::Locking, ProgressKind::Verifying] {
        let mut world = at(true, true, kind);
        world.happens(Chaos::OneBank(true));
        if kind == ProgressKind::Verifying {
            world.happens(Chaos::Crash);
        }
        run(&mut world, 20);
        assert_eq!(world.kind(), ProgressKind::Unsupported);
        assert!(world.is_free(), "{kind}");
    }
}

#[test]
fn the_operators_lock_comes_back_as_it_was_written() {
    let mut world = at(false, true, ProgressKind::Rebooting);
    // Back on the old version, the lock is seen; before it is set, the operator writes another.
    while !world.queue.contains(&Effect::Pin("1.20.0".to_owned())) {
        world.happens(Chaos::None);
        if world.state.memory.pin.is_some() && world.version_lock == "latest" {
            world.happens(Chaos::ForeignLock(2));
        }
    }
    run(&mut world, CALM);
    assert_eq!(world.version_lock, "1.20.0");
    assert_eq!(world.state.memory.pin.as_ref().unwrap().before, "v1.21.0");
    // It names the refused version: a newer one on offer is no reason to lead other updaters to it.
    world.offer(true, true);
    run(&mut world, CALM);
    assert_eq!(world.version_lock, "1.20.0");
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(world.version_lock, "v1.21.0");
    assert_eq!(world.running(), version(20));
}

#[test]
fn a_version_that_somebody_else_moved_on_to_is_not_left_for_the_locks_sake() {
    let mut world = at(true, false, ProgressKind::RebootingBack);
    run(&mut world, CALM);
    assert_eq!((world.running(), world.version_lock.as_str()), (version(20), "1.20.0"));
    world.fleet.lock().unwrap().refuse(version(29));
    run(&mut world, 20);
    world.happens(Chaos::ForeignRollback);
    world.happens(Chaos::PowerCut);
    run(&mut world, CALM);
    assert_eq!((world.running(), world.version_lock.as_str()), (version(21), "latest"));
}

#[test]
fn who_allows_a_version_while_its_refusal_is_told_is_heard() {
    let mut world = at(false, true, ProgressKind::Rebooting);
    while !matches!(world.queue.front(), Some(Effect::Rule(..))) {
        world.happens(Chaos::None);
    }
    world.happens(Chaos::Allow);
    run(&mut world, 10);
    assert_eq!(world.fleet.lock().unwrap().last_word(&version(21)), Some(false));
}

/// A bad version is verified while somebody else writes to the bank that it came from.
pub(super) fn gone_bank() -> World {
    let mut world = at(true, false, ProgressKind::Verifying);
    world.offer(true, true);
    world.happens(Chaos::Foreign(0));
    world.happens(Chaos::Foreign(1));
    run(&mut world, CALM);
    world
}

#[test]
fn what_cannot_be_taken_back_stays_and_is_held() {
    let world = gone_bank();
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    let held = world.state.memory.held.as_ref().unwrap();
    assert!(held.why.contains("bank A, which held 1.20.0, is gone"), "{}", held.why);
    assert!(world.is_free());
}

/// signpost fails for ever.
pub(super) fn deaf_signpost() -> World {
    let mut world = at(true, false, ProgressKind::RollingBack);
    for _ in 0..100 {
        if world.queue.front() == Some(&Effect::RollBack) {
            world.happens(Chaos::Fail);
        }
        world.happens(Chaos::None);
    }
    world
}

#[test]
fn a_rollback_that_fails_for_ever_is_given_up() {
    let world = deaf_signpost();
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    assert!(world.state.memory.held.as_ref().is_some_and(|held| held.why.contains("signpost")));
}

/// The host takes requests to reboot and does nothing.
pub(super) fn deaf_host() -> World {
    let mut world = at(true, true, ProgressKind::Rebooting);
    for _ in 0..1000 {
        if world.queue.front() == Some(&Effect::Reboot) {
            world.happens(Chaos::Fail);
        }
        world.happens(Chaos::None);
        if world.kind() == ProgressKind::Withdrawing {
            break;
        }
    }
    run(&mut world, 20);
    world
}

#[test]
fn a_host_that_does_not_reboot_keeps_what_it_has() {
    let world = deaf_host();
    assert_eq!(ends(&world), [(End::Withdrawn, 1)].into());
    assert!(world.is_free());
}
