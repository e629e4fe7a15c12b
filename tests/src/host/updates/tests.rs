use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn offer(versions: &[&str]) -> Offer {
    Offer { versions: versions.iter().map(|v| v.parse().unwrap()).collect(), max: None }
}

fn updater(versions: &[&str]) -> Updater {
    let running = Image { arch: "x86_64".into(), version: "1.20.5".into(), variant: "aws-ecs-2".into() };
    let mut updater = Updater::new(running, Box::new(Willing::default()));
    updater.offer = offer(versions);
    updater
}

const OFFER: [&str; 4] = ["1.21.1", "1.21.0", "1.20.5", "1.20.4"];

use UpdateAction::{Activate, Deactivate, Prepare, Refresh};

/// An updater in a state, reached as a host would.
fn in_state(state: &str) -> Updater {
    let (versions, actions): (&[&str], &[UpdateAction]) = match state {
        "Idle" => (&[], &[Refresh]),
        "Available" => (&OFFER, &[Refresh]),
        "Staged" => (&OFFER, &[Refresh, Prepare]),
        _ => (&OFFER, &[Refresh, Prepare, Activate]),
    };
    let mut updater = updater(versions);
    for action in actions {
        updater.act(*action, "latest", at(0)).unwrap();
    }
    assert_eq!(updater.status(at(0)).unwrap().update_state.as_str(), state);
    updater
}

#[test]
fn every_action_in_every_state() {
    let no = Err(Refusal::WrongState);
    let table = [
        ("Idle", [Ok("Idle"), no, no, no]),
        ("Available", [Ok("Available"), Ok("Staged"), no, no]),
        ("Staged", [Ok("Staged"), Ok("Staged"), Ok("Ready"), no]),
        ("Ready", [Ok("Ready"), no, no, Ok("Staged")]),
    ];
    for (state, row) in table {
        for (action, expected) in [Refresh, Prepare, Activate, Deactivate].into_iter().zip(row) {
            let mut updater = in_state(state);
            let before = updater.status(at(0)).unwrap().clone();
            let took = updater.act(action, "latest", at(9));
            assert_eq!(took, expected.map(drop), "{action:?} in {state}");
            let after = updater.status(at(9)).unwrap();
            match expected {
                Ok(state) => {
                    assert_eq!(after.update_state.as_str(), state, "{action:?} in {state}");
                    assert_eq!(after.most_recent_command.as_ref().unwrap().cmd_type, action.kind());
                    assert_ne!(after.most_recent_command, before.most_recent_command);
                }
                Err(_) => assert_eq!(*after, before, "a refused action leaves no trace"),
            }
        }
    }
}

#[test]
fn any_action_initialises_even_a_refused_one() {
    for action in [Refresh, Prepare, Activate, Deactivate] {
        let mut updater = updater(&[]);
        assert_eq!(updater.status(at(0)), Err(Refusal::Uninitialized));
        let refused = updater.act(action, "latest", at(0)).is_err();
        assert_eq!(refused, action != Refresh);
        let status = updater.status(at(0)).unwrap();
        assert_eq!(status.update_state, UpdateState::Idle);
        assert_eq!(status.active_partition.as_ref().unwrap().image.version, "1.20.5");
        assert_eq!(status.most_recent_command.is_none(), refused);
    }
}

#[test]
fn busy_until_done() {
    let mut updater = updater(&OFFER);
    updater.takes = Duration::from_secs(2);
    updater.act(Refresh, "latest", at(0)).unwrap();
    assert_eq!(updater.status(at(1)), Err(Refusal::Busy));
    assert_eq!(updater.act(Refresh, "latest", at(1)), Err(Refusal::Busy));
    let status = updater.status(at(5)).unwrap();
    assert_eq!(status.update_state, UpdateState::Available);
    assert_eq!(status.most_recent_command.as_ref().unwrap().timestamp, format!("{:.9}", at(2)), "when it ended");
}

#[test]
fn foreign_locks() {
    let mut updater = in_state("Staged");
    updater.foreign = ForeignLock::Shared;
    assert!(updater.status(at(1)).is_ok());
    assert_eq!(updater.act(Refresh, "latest", at(1)), Err(Refusal::Busy));
    updater.foreign = ForeignLock::Exclusive;
    assert_eq!(updater.status(at(1)), Err(Refusal::Busy));
}

#[test]
fn what_a_refresh_chooses() {
    type Case = (&'static [&'static str], Option<&'static str>, &'static str, Option<&'static str>);
    let cases: [Case; 11] = [
        (&[], None, "latest", None),
        (&OFFER, None, "latest", Some("1.21.1")),
        (&["1.20.5", "1.20.4"], Some("1.20.5"), "latest", None),
        (&["1.20.4", "1.20.3"], Some("1.20.4"), "latest", Some("1.20.4")),
        (&["1.20.4", "1.20.3"], Some("1.21.0"), "latest", None),
        (&OFFER, None, "1.20.4", Some("1.20.4")),
        (&OFFER, None, "v1.21.0", Some("1.21.0")),
        (&OFFER, None, "1.20.5", None),
        (&OFFER, None, "1.30.0", None),
        (&OFFER, None, "rubbish", None),
        (&OFFER, Some("1.21.0"), "latest", Some("1.21.0")),
    ];
    for (versions, max, lock, expected) in cases {
        let offer = Offer { max: max.map(|v| v.parse().unwrap()), ..offer(versions) };
        let chosen = choose("1.20.5", &offer, lock).map(Version::to_string);
        assert_eq!(chosen.as_deref(), expected, "{versions:?} {max:?} {lock}");
    }
}

#[test]
fn a_refresh_in_ready_may_choose_other_than_what_is_staged() {
    let mut updater = in_state("Ready");
    updater.offer = offer(&["1.21.2", "1.21.1"]);
    updater.act(Refresh, "latest", at(1)).unwrap();
    let status = updater.status(at(1)).unwrap();
    assert_eq!(status.update_state, UpdateState::Ready);
    assert_eq!(status.chosen_update.as_ref().unwrap().version, "1.21.2");
    assert_eq!(status.staging_partition.as_ref().unwrap().image.version, "1.21.1");
}

#[test]
fn a_choice_lost_in_staged() {
    let mut updater = in_state("Staged");
    updater.offer = offer(&[]);
    updater.act(Refresh, "latest", at(1)).unwrap();
    assert_eq!(updater.status(at(1)).unwrap().update_state, UpdateState::Staged);
    assert_eq!(updater.act(Prepare, "latest", at(2)), Err(Refusal::NothingChosen));
    updater.act(Activate, "latest", at(3)).unwrap();
    assert_eq!(updater.status(at(3)).unwrap().update_state, UpdateState::Ready);
}

#[test]
fn next_to_boot_follows_activate_and_deactivate() {
    let next = |updater: &mut Updater| {
        let status = updater.status(at(9)).unwrap();
        let next = |partition: &Option<Partition>| partition.as_ref().unwrap().next_to_boot;
        (next(&status.active_partition), next(&status.staging_partition))
    };
    let mut updater = in_state("Ready");
    assert_eq!(next(&mut updater), (false, true));
    updater.act(Deactivate, "latest", at(1)).unwrap();
    assert_eq!(next(&mut updater), (true, false));
}

#[test]
fn bad_endings() {
    let mut updater = in_state("Available");
    updater.ending = Ending::Exit(1, "no network".into());
    updater.act(Refresh, "latest", at(1)).unwrap();
    let status = updater.status(at(1)).unwrap().clone();
    assert_eq!(status.update_state, UpdateState::Idle);
    assert!(status.chosen_update.is_some() && !status.available_updates.is_empty(), "stale, but kept");
    let command = status.most_recent_command.clone().unwrap();
    assert_eq!((command.cmd_status, command.stderr.as_deref()), (CommandOutcome::Failed, Some("no network")));

    updater.ending = Ending::NoTrace;
    updater.act(Refresh, "latest", at(2)).unwrap();
    assert_eq!(*updater.status(at(2)).unwrap(), status);

    let mut updater = in_state("Available");
    updater.ending = Ending::FalseSuccess;
    updater.act(Prepare, "latest", at(3)).unwrap();
    let status = updater.status(at(3)).unwrap();
    assert_eq!(status.update_state, UpdateState::Available, "says success, did nothing");
    assert_eq!(status.most_recent_command.as_ref().unwrap().cmd_status, CommandOutcome::Success);
}

#[test]
fn a_boot_forgets() {
    let mut updater = in_state("Ready");
    let running = Image { arch: "x86_64".into(), version: "1.21.1".into(), variant: "aws-ecs-2".into() };
    updater.boot(running);
    assert_eq!(updater.status(at(9)), Err(Refusal::Uninitialized));
    updater.act(Refresh, "latest", at(9)).unwrap();
    assert_eq!(updater.status(at(9)).unwrap().update_state, UpdateState::Idle, "nothing newer than what runs now");
}
