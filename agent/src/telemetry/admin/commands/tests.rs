use super::*;
use crate::telemetry::admin::tests::Server;
use crate::telemetry::inputs::tests::Fixture;
use crate::telemetry::status::UpdateStatus;
use crate::update::Handle;
use crate::update::machine::policy::refusal;
use crate::update::machine::{Progress, State};
use crate::update::tests::{handle, idle, off, verifying};

/// An agent whose update is there, and carries out commands; writing its journal comes to that.
async fn agent(state: State, journal: Result<(), Arc<str>>) -> Server {
    let (update, task) = handle(state);
    tokio::spawn(task.run(journal));
    serve(update).await
}

async fn serve(update: Handle) -> Server {
    Server::start(Fixture { update, ..Fixture::working() }).await
}

async fn ordered(server: &Server, path: &str) -> UpdateStatus {
    let (code, body) = server.ask("POST", path).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(server.ask("GET", "/update").await, (200, body.clone()), "the answer is the status after it");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn commands_are_carried_out_before_they_are_answered() {
    let server = agent(idle("automatic"), Ok(())).await;
    let held = ordered(&server, "/update/hold").await;
    assert_eq!((&*held.phase, &*held.why), ("held", "by hand"));
    let held = ordered(&server, "/update/hold?why=we+look+at+it%20first").await;
    assert_eq!(&*held.held.unwrap().why, "we look at it first");
    let resumed = ordered(&server, "/update/resume").await;
    assert_eq!((&*resumed.phase, resumed.held, resumed.looking), ("idle", None, true));
    ordered(&server, "/update/allow?version=1.21.1").await;
    let state = server.all.update.state.borrow().clone();
    let ruling = &state.memory.rulings[&"1.21.1".parse().unwrap()];
    assert!(!ruling.refused && refusal(&state.memory, &"1.21.1".parse().unwrap()).is_none());
}

#[tokio::test]
async fn a_check_has_the_host_looked_at_anew() {
    let server = agent(idle("check"), Ok(())).await;
    assert!(ordered(&server, "/update/check").await.looking);
}

#[tokio::test]
async fn an_update_beyond_recall_goes_on_though_held() {
    let server = agent(verifying(), Ok(())).await;
    let held = ordered(&server, "/update/hold").await;
    assert_eq!(&*held.phase, "verifying");
    assert!(held.held.is_some());
}

#[tokio::test]
async fn commands_are_posted_and_everything_else_is_not() {
    let server = agent(idle("automatic"), Ok(())).await;
    for order in ["hold", "resume", "check", "allow?version=1.21.1"] {
        let answer = server.raw(&format!("GET /update/{order} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: POST\r\n"), "{answer}");
    }
    let answer = server.raw("POST /update HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET\r\n"), "{answer}");
    assert_eq!(server.ask("POST", "/update/").await.0, 404);
    assert_eq!(server.ask("POST", "/update/reboot").await.0, 404);
    assert_eq!(*server.all.update.state.borrow().as_ref(), idle("automatic"), "nothing has changed");
}

#[tokio::test]
async fn a_command_that_makes_no_sense_says_what_would() {
    let server = agent(idle("automatic"), Ok(())).await;
    let long = "a".repeat(MAX_WHY + 1);
    for (path, advice) in [
        ("/update/allow".to_owned(), "\"\" is no version (empty string, expected a semver version); write a version"),
        ("/update/allow?version=v1.21".to_owned(), "such as 1.50.0"),
        (format!("/update/allow?version=1.0.{}", "9".repeat(100)), "too long"),
        (format!("/update/hold?why={long}"), "1 to 200 printable characters"),
        ("/update/hold?why=%1b%5b2J".to_owned(), "printable"),
        ("/update/hold?why=+".to_owned(), "1 to 200"),
    ] {
        let (code, body) = server.ask("POST", &path).await;
        assert!(code == 400 && body.contains(advice) && body.ends_with('\n'), "{path}: {code} {body}");
    }
    assert_eq!(*server.all.update.state.borrow().as_ref(), idle("automatic"), "nothing has changed");
}

#[tokio::test]
async fn where_nobody_looks_after_updates_a_command_says_so() {
    let unsupported =
        State { progress: Progress::Unsupported("the disk has one bank only".into()), ..idle("automatic") };
    for (state, why) in [(off(), "(off): update.mode is off"), (unsupported, "(unsupported): the disk has one bank")] {
        let server = agent(state, Ok(())).await;
        for order in ["hold", "resume", "check", "allow?version=1.21.1"] {
            let (code, body) = server.ask("POST", &format!("/update/{order}")).await;
            assert!(code == 409 && body.contains(why), "{order}: {code} {body}");
        }
    }
}

#[tokio::test]
async fn what_a_restart_would_forget_is_an_error() {
    let server = agent(idle("automatic"), Err("the disk is full".into())).await;
    let (code, body) = server.ask("POST", "/update/hold").await;
    assert_eq!((code, &*body), (500, "this will be forgotten at the agent's next restart: the disk is full\n"));
    let (update, task) = handle(idle("automatic"));
    drop(task);
    let (code, body) = serve(update).await.ask("POST", "/update/hold").await;
    assert!(code == 503 && body.contains("try again"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_hangs_is_answered_all_the_same() {
    let (update, mut task) = handle(idle("automatic"));
    tokio::spawn(async move { task.hang().await });
    let (code, body) = serve(update).await.ask("POST", "/update/hold").await;
    assert_eq!((code, &*body), (503, "it waits to be carried out; look at the update's status\n"));
}
