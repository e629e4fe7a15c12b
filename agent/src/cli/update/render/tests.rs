use std::sync::Arc;

use super::*;
use crate::cli::text::WIDTH;
use crate::update::fleet::Ruling;
use crate::update::machine::{End, Hold, PastUpdate, Progress, Retry, State, Verdict, VersionPin};
use crate::update::summary;
use crate::update::tests::{idle, moment, then, verifying, version};
use crate::update::verify::{Check, Report};

fn shown(state: &State) -> String {
    render(&summary::status(state, then()), moment())
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_second(moment().as_second() - seconds).unwrap()
}

/// A node with a past.
fn tried() -> State {
    let mut state = idle("automatic");
    let (why, url): (Arc<str>, _) = ("http://127.0.0.1:8080/healthz: status 503".into(), "http http://127.0.0.1:8080");
    let ruling = Ruling { refused: true, at: before(7200), by: "node-b".into(), why: why.clone() };
    state.memory.rulings = [(version("1.21.1"), ruling)].into();
    let found = "status 503; 200 to 299 is well, and this is more than fits on a line: ".repeat(2).into();
    let checks = vec![
        Check { name: "docker".into(), ok: true, found: "up".into() },
        Check { name: url.into(), ok: false, found },
    ];
    let report = Report { checks };
    state.memory.verdict =
        Some(Verdict { version: version("1.21.1"), good: false, at: before(7200), why: why.clone(), report });
    let (from, to) = (version("1.20.5"), version("1.21.1"));
    state.memory.history = vec![PastUpdate { at: before(7000), from, to, end: End::RolledBack, why: why.clone() }];
    let at = Timestamp::from_second(moment().as_second() + 600).unwrap();
    state.memory.retry = Some(Retry { version: version("1.21.2"), attempts: 2, at, why: "the lock is away".into() });
    state.memory.pin = Some(VersionPin { to: version("1.20.5"), before: "latest".into(), set: true, lift: false });
    state.memory.held = Some(Hold { why: "by hand".into(), since: before(60) });
    state.memory.rollbacks = 1;
    Arc::make_mut(&mut state.settings).refuse = vec![version("1.19.0")];
    let Progress::Standby(standby) = &mut state.progress else { panic!() };
    (standby.chosen, standby.refreshed_at) = (Some(version("1.21.1")), Some(before(90)));
    standby.failure = Some("no answer from the lock server".into());
    state
}

#[test]
fn an_idle_node_takes_four_lines() {
    insta::assert_snapshot!(shown(&idle("automatic")), @r#"
    phase        idle: no update available
    running      1.20.5
    chosen       none
    looked       0s ago
    "#);
}

#[test]
fn what_is_verified() {
    insta::assert_snapshot!(shown(&verifying()), @r#"
    phase        verifying: 1 of 2 checks fail on 1.21.1: http http://127.0.0.1:8080/healthz: status
                 503; 200 to 299 is well
    until        2026-01-02T03:13:25Z (in 9m)
    running      1.21.1
    update       1.20.5 -> 1.21.1

    the last look at every check
      ok    docker: up
      FAIL  http http://127.0.0.1:8080/healthz: status 503; 200 to 299 is well
    "#);
}

#[test]
fn a_node_with_a_past() {
    insta::assert_snapshot!(shown(&tried()), @r#"
    phase        held: by hand
    running      1.20.5
    chosen       1.21.1
    trouble      no answer from the lock server
    held         for 1m: by hand; meshdog update resume lets updates go on
    taken back   1 since the last resume
    refused      1.21.1 for 2h, said by node-b: http://127.0.0.1:8080/healthz: status 503
    refused      1.19.0 by update.refuse
    attempts     2 of 1.21.2, the next from 2026-01-02T03:14:05Z (in 10m): the lock is away
    version-lock kept at 1.20.5 since a rollback; was latest
    looked       1m ago

    1.21.1 was found bad 2h ago: http://127.0.0.1:8080/healthz: status 503
      ok    docker: up
      FAIL  http http://127.0.0.1:8080: status 503; 200 to 299 is well, and this is more than fits on a
            line: status 503; 200 to 299 is well, and this is more than fits on a line:

    the last updates
      2026-01-02T01:07:25Z  1.20.5 -> 1.21.1 rolled-back: http://127.0.0.1:8080/healthz: status 503
    "#);
}

#[test]
fn strangers_words_stay_on_the_screen() {
    let mut state = tried();
    let wide: Arc<str> = "because \x1b[2J ".repeat(100).into();
    state.memory.held = Some(Hold { why: wide.clone(), since: moment() });
    for past in &mut state.memory.history {
        past.why = wide.clone();
    }
    for check in state.memory.verdict.iter_mut().flat_map(|verdict| &mut verdict.report.checks) {
        (check.name, check.found) = ("x".repeat(200).into(), wide.clone());
    }
    let text = shown(&state);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b'));
}
