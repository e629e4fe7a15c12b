//! Who was at work, on statuses as the real updater answered them (v1.20.5).

use super::*;

/// Names, each with the status below it.
const RECORDED: &str = include_str!("recorded.txt");

fn recorded(name: &str) -> UpdateStatus {
    let mut lines = RECORDED.lines().skip_while(|line| *line != name);
    serde_json::from_str(lines.nth(1).unwrap()).unwrap()
}

/// A host with this status, and bits as prepare leaves them.
fn host(name: &str) -> Facts {
    Facts { updates: Some(recorded(name)), banks: banks((1, 0, true), (0, 1, false)), ..facts() }
}

/// An agent that gave the last command of this status.
fn own(name: &str) -> Memory {
    let timestamp = recorded(name).most_recent_command.unwrap().timestamp;
    let own = OwnCommand { boot: BootId("this".into()), timestamp: Some(timestamp), staged: NEW };
    Memory { own: Some(own), ..Memory::default() }
}

const STAGED_BY_ANOTHER: &str = "somebody else has staged 1.21.1 (cancel it, or let it end)";

#[test]
fn what_another_staged_is_anothers() {
    for memory in [Memory::default(), own("staged, before that")] {
        assert!(!is_own(&memory, &host("staged anew")));
        assert_eq!(somebody_else(&memory, &host("staged anew")).as_deref(), Some(STAGED_BY_ANOTHER));
    }
}

#[test]
fn what_this_agent_staged_is_its_own_after_any_refresh() {
    let memory = own("staged, before that refresh");
    for name in ["staged, before that refresh", "staged, then refreshed"] {
        assert!(is_own(&memory, &host(name)), "{name}");
        assert_eq!(somebody_else(&memory, &host(name)), None);
    }
}

#[test]
fn a_command_that_failed_takes_nothing_over() {
    let mut facts = host("staged anew");
    let command = facts.updates.as_mut().unwrap().most_recent_command.as_mut().unwrap();
    command.cmd_status = CommandOutcome::Failed;
    assert!(is_own(&own("staged, before that"), &facts));
    assert!(!is_own(&Memory::default(), &facts));
}

#[test]
fn what_was_staged_in_an_earlier_boot_is_anothers() {
    let mut memory = own("staged");
    memory.own.as_mut().unwrap().boot = BootId("before".into());
    assert!(!is_own(&memory, &host("staged")));
    assert_eq!(somebody_else(&memory, &host("staged")).as_deref(), Some(STAGED_BY_ANOTHER));
}

#[test]
fn another_version_than_this_agents_is_anothers() {
    let mut memory = own("staged");
    memory.own.as_mut().unwrap().staged = Version::new(1, 21, 0);
    assert!(!is_own(&memory, &host("staged")));
    // Whatever is chosen by now, what counts is what is staged.
    let ready = host("activated, then a newer version appeared");
    assert_eq!(chosen(&ready), Some(Version::new(1, 21, 2)));
    assert!(is_own(&own("activated"), &ready));
}

#[test]
fn while_the_end_of_a_command_is_not_heard_only_a_refresh_changes_nothing() {
    let mut memory = own("staged");
    memory.own.as_mut().unwrap().timestamp = None;
    assert!(!is_own(&memory, &host("staged")));
    assert!(is_own(&memory, &host("staged, then refreshed")));
}

#[test]
fn what_another_activated_is_seen_by_the_updater_and_by_the_banks() {
    let memory = own("staged, before that");
    for name in ["activated", "activated, then refreshed"] {
        let facts = Facts { banks: banks((1, 0, true), (2, 1, false)), ..host(name) };
        assert_eq!(
            somebody_else(&memory, &facts).as_deref(),
            Some("somebody else told the next boot to take bank B"),
            "{name}"
        );
    }
    // signpost cancelled it, of which the updater knows nothing.
    assert!(somebody_else(&memory, &host("activated")).unwrap().starts_with("somebody else has staged 1.21.1"));
    assert!(!is_own(&memory, &host("deactivated")));
    assert!(is_own(&own("deactivated"), &host("deactivated")));
}

#[test]
fn after_a_rollback_or_a_fallback_nobody_is_at_work() {
    for (name, bits) in [("rolled back, on offer again", (1, 0, true)), ("fallen back, on offer again", (2, 0, false))]
    {
        let facts = Facts { banks: banks((2, 0, true), bits), ..host(name) };
        assert_eq!(somebody_else(&Memory::default(), &facts), None, "{name}");
        assert_eq!(decide(&automatic(), &facts, now()), Decision::Begin(NEW), "{name}: the host would take it again");
        let mut state = automatic();
        state.memory.rulings.insert(NEW, ruling(true, ago(HOUR), "node-a"));
        assert!(idle(&decide(&state, &facts, now())).starts_with("1.21.1 is refused"), "{name}");
    }
    // Armed again by hand.
    let facts = Facts { banks: banks((1, 0, true), (2, 1, false)), ..host("fallen back, on offer again") };
    assert!(somebody_else(&Memory::default(), &facts).unwrap().contains("take bank B"));
}

#[test]
fn before_the_updater_was_asked_for_anything_only_the_banks_tell() {
    let facts = Facts { updates: None, ..facts() };
    assert_eq!(somebody_else(&Memory::default(), &facts), None);
    assert!(!is_own(&own("staged"), &facts));
}
