use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::telemetry::admin::{Admin, Api};
use crate::telemetry::inputs::tests::Fixture;
use crate::telemetry::metrics::{Handles, registry};
use crate::update::machine::{Progress, Reason, State};
use crate::update::tests::{handle, idle, off};

/// An agent whose update is there, and carries out commands.
struct Agent {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    state: tokio::sync::watch::Sender<Arc<State>>,
}

impl Agent {
    async fn start(state: State) -> Self {
        let (update, task) = handle(state);
        let state = task.state.clone();
        tokio::spawn(task.run(Ok(())));
        let all = Fixture { update, ..Fixture::working() };
        let (inputs, handles) = (all.inputs(), Handles::default());
        let registry = registry(&inputs, &handles);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let api = Arc::new(Api::new(inputs, handles.traffic, registry, all.update.clone()));
        tokio::spawn(Admin::bind(&socket).await.unwrap().serve(api, CancellationToken::new()));
        Self { _dir: dir, socket, state }
    }

    async fn run(&self, line: &[&str]) -> Result<String, Error> {
        let cli = crate::cli::Cli::try_parse_from([&["meshdog", "update"], line].concat()).unwrap();
        let crate::cli::CliCommand::Update(UpdateArgs { command }) = cli.command else { panic!() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut output = Output { out: &mut out, err: &mut err, json: cli.json };
        command.carry_out(&self.socket, &mut output).await?;
        Ok(String::from_utf8(out).unwrap())
    }
}

#[tokio::test]
async fn each_command_tells_what_is_so_now() {
    let agent = Agent::start(idle("automatic")).await;
    let hold = agent.run(&["hold", "--why", "we look at it & \"think\""]).await.unwrap();
    assert_eq!(hold, "no update begins until meshdog update resume (held: we look at it & \"think\")\n");
    let allow = agent.run(&["allow", "1.21.1+a"]).await.unwrap();
    assert_eq!(allow, "1.21.1+a may be taken (held: we look at it & \"think\")\n");
    let resume = agent.run(&["resume"]).await.unwrap();
    assert_eq!(resume, "updates go on (idle: looking at the host)\n");
    let hold = agent.run(&["hold", "--json"]).await.unwrap();
    assert_eq!(serde_json::from_str::<UpdateStatus>(&hold).unwrap().why.as_ref(), "by hand");
}

#[tokio::test]
async fn a_check_is_over_when_the_host_was_looked_at() {
    let agent = Agent::start(idle("check")).await;
    let looked = tokio::spawn({
        let state = agent.state.clone();
        async move {
            let asked = state.subscribe().wait_for(|state| crate::update::summary::looking(state)).await.is_ok();
            state.send_modify(|state| {
                let Progress::Standby(standby) = &mut Arc::make_mut(state).progress else { panic!() };
                standby.reason = Some(Reason::Idle("1.21.1 is available".into()));
            });
            asked
        }
    });
    let shown = agent.run(&["check"]).await.unwrap();
    assert!(shown.starts_with("phase        idle: 1.21.1 is available\n"), "{shown}");
    assert!(looked.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_looks_is_not_waited_for_any_longer() {
    let agent = Agent::start(idle("automatic")).await;
    let slow = agent.run(&["check"]).await.unwrap_err();
    assert!(matches!(slow, Error::Slow(_)), "{slow}");
}

#[tokio::test]
async fn where_updates_are_off_a_command_fails_and_a_look_does_not() {
    let agent = Agent::start(off()).await;
    let refused = agent.run(&["hold"]).await.unwrap_err();
    assert!(refused.to_string().contains("nobody looks after this node's updates (off)"), "{refused}");
    assert!(agent.run(&["status"]).await.unwrap().starts_with("phase        off: update.mode is off\n"));
}

#[test]
fn what_is_no_version_is_bad_usage() {
    for line in [&["allow", "1.21"][..], &["allow"], &["allow", ""], &["hold", "--why", ""], &["hold", "--why", "a\tb"]]
    {
        let line = [&["meshdog", "update"], line].concat();
        assert_eq!(crate::cli::Cli::try_parse_from(&line).unwrap_err().exit_code(), 2, "{line:?}");
    }
}
