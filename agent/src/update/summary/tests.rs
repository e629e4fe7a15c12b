use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::update::fleet::Ruling;
use crate::update::machine::{
    BootId, Command, End, Hold, PastUpdate, Reason, Retry, Standby, Verdict, VersionPin, obey,
};
use crate::update::tests::{idle, intent, moment, starting, then, updating, verifying, version};
use crate::update::verify::{Check, Report};

fn shown(state: &State) -> Value {
    serde_json::to_value(status(state, then())).unwrap()
}

/// Phase, reason and end of it.
fn seen_as(state: &State) -> (String, String, Value) {
    let shown = shown(state);
    let text = |key: &str| shown[key].as_str().unwrap().to_owned();
    assert_eq!(text("phase"), state.phase().as_str());
    (text("phase"), text("why"), shown["until"].clone())
}

fn restarted(stage: Checkpoint) -> State {
    State { progress: Progress::Starting(Some(Underway { stage, intent: intent() })), ..starting("automatic") }
}

fn waiting(why: &str, until: Option<Timestamp>) -> State {
    let reason = Some(Reason::Waiting(why.into(), until));
    State { progress: Progress::Standby(Standby { reason, ..Standby::default() }), ..idle("automatic") }
}

#[test]
fn every_place_has_its_word_and_its_reason() {
    let verifying_since =
        |boot: &str| Checkpoint::Verifying { boot: BootId(boot.into()), boots: 1, since: Duration::ZERO };
    let later: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
    let locking =
        State { progress: Progress::Locking { intent: intent(), standby: Standby::default() }, ..idle("automatic") };
    let unsupported = State { progress: Progress::Unsupported("one bank".into()), ..idle("automatic") };
    let just = |state: &State, word: &str, why: &str| {
        let (phase, found, until) = seen_as(state);
        assert_eq!((&*phase, until), (word, Value::Null), "{found}");
        assert!(found.contains(why), "{found}");
    };
    just(&idle("off"), "off", "no update available");
    just(&starting("off"), "off", "looking at the host");
    just(&unsupported, "unsupported", "one bank");
    just(&starting("automatic"), "idle", "looking at the host");
    just(&idle("check"), "idle", "no update available");
    just(&waiting("the fleet", None), "waiting", "the fleet");
    just(&locking, "waiting", "asks the fleet whether it is this node's turn to update to 1.21.1");
    just(&updating(Step::Preparing), "preparing", "writes it to the other bank");
    just(&updating(Step::Measuring), "preparing", "measures");
    just(&updating(Step::Activating), "activating", "1.21.1");
    just(&updating(Step::Rebooting { asked: 1 }), "rebooting", "reboots into 1.21.1");
    just(&updating(Step::RebootingBack { asked: 1 }), "rolling-back", "reboots back into 1.20.5");
    just(
        &updating(Step::Withdrawing { why: "somebody else".into(), activated: false, failure: None }),
        "waiting",
        "1.21.1 off: somebody else",
    );
    just(&updating(Step::RollingBack { failed: 0, failure: None }), "rolling-back", "takes 1.21.1 back");
    just(&restarted(Checkpoint::Preparing), "waiting", "the agent was restarted");
    just(&restarted(Checkpoint::Activating), "verifying", "what became of the update to 1.21.1");
    just(&restarted(verifying_since("b")), "verifying", "what became of");
    just(&restarted(Checkpoint::Unknown), "verifying", "what became of");
    just(&restarted(Checkpoint::RollingBack), "rolling-back", "what became of");

    let (phase, why, until) = seen_as(&waiting("no window is open", Some(later)));
    assert_eq!((&*phase, &*why, until), ("waiting", "no window is open", json!("2026-01-03T00:00:00Z")));
}

#[test]
fn a_drain_ends_when_it_is_over_at_the_latest() {
    let draining = |left| updating(Step::Draining { since: Duration::from_secs(40), left });
    // Begun 60 s ago, for 5 min.
    let (phase, why, until) = seen_as(&draining(Some(3)));
    assert_eq!((&*phase, until), ("draining", json!("2026-01-02T03:08:05Z")));
    assert!(why.ends_with("3 left"), "{why}");
    assert_eq!(shown(&draining(Some(3)))["connections"], 3);
    assert_eq!(shown(&draining(None)).get("connections"), None);
}

#[test]
fn what_is_verified_shows_every_check_and_the_deadline() {
    // Begun 40 s ago, for 10 min.
    let (phase, why, until) = seen_as(&verifying());
    assert_eq!((&*phase, until), ("verifying", json!("2026-01-02T03:13:25Z")));
    assert!(why.starts_with("1 of 2 checks fail on 1.21.1: http http://127.0.0.1:8080/healthz: status 503"), "{why}");
    let status = shown(&verifying());
    assert_eq!(status["checks"][0], json!({"name": "docker", "ok": true, "found": "up"}));
    assert_eq!((&status["from"], &status["to"]), (&json!("1.20.5"), &json!("1.21.1")));
    assert_eq!((&status["running"], &status["chosen"]), (&json!("1.21.1"), &Value::Null));
    assert_eq!(shown(&updating(Step::Preparing))["chosen"], "1.21.1");

    let mut well = verifying();
    let Progress::Updating { step: Step::Verifying { report: Some(report), .. }, .. } = &mut well.progress else {
        panic!()
    };
    report.checks.truncate(1);
    assert!(seen_as(&well).1.starts_with("every check holds on 1.21.1"));
}

#[test]
fn an_idle_node_says_no_more_than_it_has_to() {
    let status = shown(&idle("automatic"));
    let expected = json!({
        "phase": "idle", "running": "1.20.5", "chosen": null, "refused": [], "why": "no update available",
        "checked_at": "2026-01-02T03:04:05Z",
    });
    assert_eq!(status, expected);
}

#[test]
fn what_ran_is_not_told_before_the_host_was_looked_at() {
    let mut state = starting("automatic");
    state.memory.running = Some(version("1.20.5"));
    assert_eq!(shown(&state)["running"], Value::Null, "that may have been another boot's");
    // A version on which the host's API does not come up is verified by what the banks say.
    let blind = State { memory: state.memory, ..verifying() };
    assert_eq!(shown(&blind)["running"], "1.21.1");
}

#[test]
fn what_is_held_says_so_before_anything_else() {
    let mut state = waiting("no window is open", Some(moment()));
    state.memory.held = Some(Hold { why: "by hand".into(), since: moment() });
    assert_eq!(seen_as(&state), ("held".to_owned(), "by hand".to_owned(), Value::Null));
    assert_eq!(shown(&state)["held"], json!({"why": "by hand", "since": "2026-01-02T03:04:05Z"}));
    // An update that is beyond recall goes on.
    let under_way = State { memory: state.memory.clone(), ..verifying() };
    assert_eq!(seen_as(&under_way).0, "verifying");
    let off = State { settings: starting("off").settings, ..state };
    assert_eq!(seen_as(&off).1, "no window is open", "where updates are off, a hold is not the reason");
}

#[test]
fn what_is_remembered_is_shown() {
    let mut state = idle("automatic");
    let ruling = |refused| Ruling { refused, at: moment(), by: "node-b".into(), why: "http: status 503".into() };
    state.memory.rulings = [(version("1.21.1"), ruling(true)), (version("1.21.0"), ruling(false))].into();
    let checks = vec![Check { name: "docker".into(), ok: false, found: "down".into() }];
    state.memory.verdict = Some(Verdict {
        version: version("1.21.1"),
        good: false,
        at: moment(),
        why: "docker: down".into(),
        report: Report { checks },
    });
    Arc::make_mut(&mut state.settings).refuse = vec![version("1.21.1"), version("1.19.0")];
    let (from, to, why): (_, _, Arc<str>) = (version("1.20.5"), version("1.21.1"), "docker: down".into());
    state.memory.history = vec![PastUpdate { at: moment(), from, to, end: End::RolledBack, why: why.clone() }];
    state.memory.retry = Some(Retry { version: version("1.21.2"), attempts: 2, at: moment(), why });
    state.memory.pin = Some(VersionPin { to: version("1.20.5"), before: "latest".into(), set: true, lift: false });
    state.memory.rollbacks = 1;
    let Progress::Standby(standby) = &mut state.progress else { panic!() };
    (standby.chosen, standby.failure) = (Some(version("1.21.1")), Some("the lock server is away".into()));

    let (status, at) = (shown(&state), "2026-01-02T03:04:05Z");
    let expected = json!({
        "phase": "idle", "running": "1.20.5", "chosen": "1.21.1", "refused": ["1.19.0", "1.21.1"],
        "why": "no update available",
        "verdict": {
            "version": "1.21.1", "good": false, "at": at, "why": "docker: down",
            "checks": [{"name": "docker", "ok": false, "found": "down"}],
        },
        "refusals": [{"version": "1.21.1", "why": "http: status 503", "by": "node-b", "at": at}],
        "rollbacks": 1,
        "retry": {"version": "1.21.2", "attempts": 2, "at": at, "why": "docker: down"},
        "version_lock": {"to": "1.20.5", "before": "latest"},
        "checked_at": at,
        "trouble": "the lock server is away",
        "history": [{"at": at, "from": "1.20.5", "to": "1.21.1", "end": "rolled-back", "why": "docker: down"}],
    });
    assert_eq!(status, expected);
    assert_eq!(serde_json::from_value::<UpdateStatus>(status).unwrap(), super::status(&state, then()));

    // Why it is taken back is why it was found bad.
    state.progress = updating(Step::RollingBack { failed: 1, failure: Some("signpost failed".into()) }).progress;
    assert_eq!(seen_as(&state).1, "takes 1.21.1 back: docker: down");
    assert_eq!(shown(&state)["trouble"], "signpost failed");
}

#[test]
fn a_journal_that_cannot_be_written_is_trouble() {
    let state = State { recorded: false, ..idle("automatic") };
    assert!(shown(&state)["trouble"].as_str().unwrap().contains("journal"));
}

#[test]
fn whoever_asks_for_a_look_can_tell_when_it_is_over() {
    let before = waiting("no window is open", None);
    assert!(!looking(&before));
    let (asked, _) = obey(&before, Command::Check, then());
    assert!(looking(&asked) && shown(&asked)["looking"] == true);
    assert_eq!(seen_as(&asked).1, "looking at the host");
    assert!(looking(&starting("automatic")));
    assert!(!looking(&verifying()));
}
