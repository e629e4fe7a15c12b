//! Journals as the release before wrote them, one for each state that it could be in.

use std::fs;

use super::*;
use crate::update::journal::Journal;
use crate::update::machine::{Phase, Progress, ProgressKind, Standby, State, Step};
use crate::update::tests::{idle, intent, moment, updating, version};
use crate::update::verify::Check;

/// A state's name, then its slot: header and body.
const RECORDED: &str = include_str!("tests/journals.txt");

/// Each name with its slot.
fn recorded() -> impl Iterator<Item = (&'static str, &'static str)> {
    RECORDED.split("=== ").filter_map(|entry| entry.split_once('\n')).map(|(name, slot)| (name, slot.trim_end()))
}

fn slot(name: &str) -> &'static str {
    recorded().find(|(recorded, _)| *recorded == name).unwrap_or_else(|| panic!("{name} is not recorded")).1
}

/// The record in a slot, as the task reads it.
fn read(slot: &str) -> Record {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("update-journal.0"), slot).unwrap();
    let (_, loaded) = Journal::open(dir.path()).unwrap();
    assert!(loaded.damaged.is_empty(), "{slot}");
    serde_json::from_value(loaded.body.unwrap()).unwrap()
}

/// The slot that is written first for a record.
fn write(record: &Record) -> String {
    let dir = tempfile::tempdir().unwrap();
    Journal::open(dir.path()).unwrap().0.save(record).unwrap();
    fs::read_to_string(dir.path().join("update-journal.0")).unwrap()
}

fn since() -> Duration {
    Duration::from_millis(60_250)
}

/// A memory with something in each field.
fn memory() -> Memory {
    let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let ruling = |refused, by: &str, why: &str| Ruling { refused, at, by: by.into(), why: why.into() };
    let report = Report { checks: vec![Check { name: "docker".into(), ok: false, found: "down".into() }] };
    let past = |end| PastUpdate { at, from: version("1.20.5"), to: version("1.21.0"), end, why: "docker: down".into() };
    let timestamp = Some("2026-01-02T03:04:05.5Z".to_owned());
    let why = "the host staged something else".into();
    Memory {
        running: Some(version("1.20.5")),
        seen: [(version("1.21.1"), at)].into(),
        rulings: [
            (version("1.21.0"), ruling(true, "node-b", "http: status 503")),
            (version("1.19.0"), ruling(false, "node-a", "allowed again by hand")),
        ]
        .into(),
        untold: [version("1.21.0")].into(),
        outcome: Some(Outcome { version: version("1.21.0"), good: false, at }),
        reset: Some(at),
        rollbacks: 1,
        held: Some(Hold { why: "by hand".into(), since: at }),
        pin: Some(VersionPin { to: version("1.20.5"), before: "latest".into(), set: true, lift: false }),
        own: Some(OwnCommand { boot: BootId("a".into()), timestamp, staged: version("1.21.1") }),
        retry: Some(Retry { version: version("1.21.1"), attempts: 2, at, why }),
        unexplained: true,
        verdict: Some(Verdict { version: version("1.21.0"), good: false, at, why: "docker: down".into(), report }),
        history: End::ALL.map(past).into(),
        unknown: Map::new(),
    }
}

/// Each state, with the checkpoint that its journal holds and the phase that people see after a restart.
pub(in crate::update::machine) fn states() -> Vec<(&'static str, Progress, Option<Checkpoint>, Phase)> {
    let intent = || {
        let baseline =
            Baseline { healthy: [("prod/orders".to_owned(), 3)].into(), failed: vec!["tcp 127.0.0.1:9".into()] };
        Intent { baseline, ..intent() }
    };
    let boot = || BootId("b".into());
    let standby = || Standby { refreshed: Some(since()), refreshed_at: Some(moment()), ..Standby::default() };
    let starting = Progress::Starting(Some(Underway { stage: Checkpoint::Preparing, intent: intent() }));
    let none = |name, progress| (name, progress, None, Phase::Idle);
    let step =
        |name, step, checkpoint, phase| (name, Progress::Updating { intent: intent(), step }, Some(checkpoint), phase);
    let preparing = |name, it| step(name, it, Checkpoint::Preparing, Phase::Waiting);
    let activating = |name, it| step(name, it, Checkpoint::Activating, Phase::Verifying);
    let rolling_back = |name, it| step(name, it, Checkpoint::RollingBack, Phase::RollingBack);
    let judged = Checkpoint::Verifying { boot: boot(), boots: 2, since: since() };
    let verifying = Step::Verifying { boot: boot(), boots: 2, since: since(), settled: Some(since()), report: None };
    let called_off = |activated, failure| Step::Withdrawing { why: "held".into(), activated, failure };
    vec![
        none("Starting", Progress::Starting(None)),
        ("Starting (preparing)", starting, Some(Checkpoint::Preparing), Phase::Waiting),
        none("Unsupported", Progress::Unsupported("one bank".into())),
        none("Standby", Progress::Standby(standby())),
        none("Locking", Progress::Locking { intent: intent(), standby: standby() }),
        preparing("Preparing", Step::Preparing),
        preparing("Measuring", Step::Measuring),
        preparing("Draining", Step::Draining { since: since(), left: Some(3) }),
        activating("Activating", Step::Activating),
        activating("Rebooting", Step::Rebooting { asked: 1 }),
        preparing("Withdrawing", called_off(false, None)),
        activating("Withdrawing (activated)", called_off(true, Some("busy".into()))),
        step("Verifying", verifying, judged, Phase::Verifying),
        rolling_back("RollingBack", Step::RollingBack { failed: 1, failure: Some("signpost failed".into()) }),
        rolling_back("RebootingBack", Step::RebootingBack { asked: 2 }),
    ]
}

#[test]
fn a_journal_of_the_release_before_reads_as_it_was_meant() {
    for (name, _, checkpoint, phase) in states() {
        let record = read(slot(name));
        assert_eq!(record.memory, memory(), "{name}");
        assert_eq!(record.update.as_ref().map(|update| &update.stage), checkpoint.as_ref(), "{name}");
        if let Some(Underway { intent, .. }) = &record.update {
            assert_eq!((&intent.from, &intent.to, intent.bank), (&version("1.20.5"), &version("1.21.1"), Bank::A));
            assert_eq!((intent.baseline.healthy["prod/orders"], intent.baseline.failed.len()), (3, 1), "{name}");
        }
        assert_eq!(State::new(idle("automatic").settings, "node-a".into(), record).phase(), phase, "{name}");
    }
    let kinds: Vec<ProgressKind> = states().iter().map(|(_, progress, ..)| ProgressKind::of(progress)).collect();
    assert!(ProgressKind::ALL.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

/// So the release before reads what this one writes, as after a rollback of the OS it has to.
#[test]
fn what_is_written_is_what_the_release_before_wrote() {
    for (name, progress, ..) in states() {
        let state = State { progress, memory: memory(), ..idle("automatic") };
        assert_eq!(write(&state.record()), slot(name), "{name}");
        assert_eq!(write(&read(slot(name))), slot(name), "{name}");
    }
    let bare = State { memory: Memory::default(), ..updating(Step::Activating) };
    assert_eq!(write(&bare.record()), slot("Activating (bare)"));
    assert_eq!(recorded().count(), states().len() + 1);
}

#[test]
fn a_checkpoints_word_is_that_of_a_phase() {
    for (name, _, checkpoint, _) in states() {
        let Some(checkpoint) = checkpoint else { continue };
        let word = serde_json::to_value(&checkpoint).unwrap()["stage"].as_str().unwrap().to_owned();
        assert!(Phase::ALL.iter().any(|phase| phase.as_str() == word), "{name}: {word}");
    }
}
