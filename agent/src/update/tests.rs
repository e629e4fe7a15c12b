//! An update for the tests of everything that shows and steers one: the real state machine, and nobody who does what it
//! says.

use std::path::Path;
use std::sync::Arc;

use semver::Version;
use tokio::sync::{mpsc, watch};

use super::handle::Request;
use super::machine::{BootId, Command, Intent, Now, Progress, Reason, Record, Standby, State, Step, obey};
use super::*;
use crate::config::{self, UpdateSettings};
use crate::update::banks::Bank;
use crate::update::verify::{Check, Report};

/// What takes a handle's commands in place of the task.
pub(crate) struct FakeTask {
    /// To have the update be somewhere else.
    pub(crate) state: watch::Sender<Arc<State>>,
    requests: mpsc::Receiver<Request>,
}

impl FakeTask {
    /// Carries out commands as the task does: one step of the machine each. `journal` is what writing it comes to.
    pub(crate) async fn run(mut self, journal: Result<(), Arc<str>>) {
        while let Some(Request { command, done }) = self.requests.recv().await {
            let state = self.state.borrow().clone();
            let (next, _) = obey(&state, command, now());
            self.state.send_replace(Arc::new(next));
            let _ = done.send(journal.clone());
        }
    }

    /// Hears one command, and never answers it.
    pub(crate) async fn hang(&mut self) {
        let _unanswered = self.requests.recv().await.unwrap();
        std::future::pending::<()>().await;
    }
}

/// A handle on an update that is there.
pub(crate) fn handle(state: State) -> (Handle, FakeTask) {
    let state = watch::Sender::new(Arc::new(state));
    let (handle, requests) = Handle::new(state.subscribe(), Metrics::default());
    (handle, FakeTask { state, requests })
}

/// What a configuration says of updates.
pub(crate) fn settings(mode: &str) -> Arc<UpdateSettings> {
    let text = format!("version = 1\nupdate.mode = {mode:?}\nupdate.drain = \"5m\"\nupdate.verify.deadline = \"10m\"");
    Arc::new(config::parse(Path::new("user-data"), &text).unwrap().update)
}

/// An agent that has just started, and whose journal is empty.
pub(crate) fn starting(mode: &str) -> State {
    State::new(settings(mode), "node-a".into(), Record::default())
}

/// A node that runs 1.20.5 and has nothing to do.
pub(crate) fn idle(mode: &str) -> State {
    let mut state = starting(mode);
    state.memory.running = Some(version("1.20.5"));
    let reason = Some(Reason::Idle("no update available".into()));
    state.progress = Progress::Standby(Standby { reason, refreshed_at: Some(moment()), ..Standby::default() });
    state
}

/// A node that leaves updates alone.
pub(crate) fn off() -> State {
    let mut state = starting("off");
    let reason = Some(Reason::Idle("update.mode is off".into()));
    state.progress = Progress::Standby(Standby { reason, ..Standby::default() });
    state
}

/// A node that is so far with its update from 1.20.5 to 1.21.1.
pub(crate) fn updating(step: Step) -> State {
    State { progress: Progress::Updating { intent: intent(), step }, ..idle("automatic") }
}

/// It verifies since 60 s after its boot; one check of two fails.
pub(crate) fn verifying() -> State {
    let check = |name: &str, ok, found: &str| Check { name: name.into(), ok, found: found.into() };
    let url = "http http://127.0.0.1:8080/healthz";
    let checks = vec![check("docker", true, "up"), check(url, false, "status 503; 200 to 299 is well")];
    let mut state = updating(Step::Verifying {
        boot: BootId("b".into()),
        boots: 1,
        since: std::time::Duration::from_secs(60),
        settled: None,
        report: Some(Report { checks }),
    });
    state.memory.running = Some(version("1.21.1"));
    state
}

pub(crate) fn intent() -> Intent {
    Intent {
        from: version("1.20.5"),
        to: version("1.21.1"),
        bank: Bank::A,
        boot: BootId("a".into()),
        begun: moment(),
        baseline: Default::default(),
        unknown: Default::default(),
    }
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

pub(crate) fn moment() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// [`moment`], 100 s after the boot.
pub(crate) fn then() -> Now {
    Now { wall: moment(), boot: std::time::Duration::from_secs(100) }
}

#[tokio::test]
async fn a_command_that_nobody_takes_is_refused() {
    let (handle, task) = handle(idle("automatic"));
    drop(task);
    assert_eq!(handle.command(Command::Resume).await, Err(CommandError::Unavailable));
}

#[tokio::test]
async fn a_command_that_is_not_written_down_says_so() {
    let (handle, task) = handle(idle("automatic"));
    tokio::spawn(task.run(Err("the disk is full".into())));
    let error = handle.command(Command::Hold("by hand".into())).await.unwrap_err();
    assert!(error.to_string().ends_with("next restart: the disk is full"), "{error}");
    assert!(handle.state.borrow().memory.held.is_some());
}
