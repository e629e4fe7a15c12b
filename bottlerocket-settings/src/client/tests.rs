use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::time::Instant;

use super::*;
use crate::{MAX_TEXT, Updates};

/// A server on a Unix socket that answers by `answer(method, path and query, body)`, and what it was asked.
struct Host {
    client: Client,
    asked: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

type Answer = (u16, &'static str);

fn host(answer: impl Fn(&str) -> Answer + Clone + Send + Sync + 'static) -> Host {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| async move {
        let line = format!("{} {}", request.method(), request.uri());
        let json = request.headers().get("content-type").is_some_and(|v| v == "application/json");
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        assert_eq!(json, !body.is_empty(), "a body, and only a body, has its content type");
        let line = format!("{line} {}", String::from_utf8(body.to_vec()).unwrap()).trim_end().to_owned();
        let (status, text) = answer(&line);
        log.lock().unwrap().push(line);
        Response::builder().status(status).body(Body::from(text)).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Host { client: Client::new(socket).unwrap(), asked, _dir: dir }
}

impl Host {
    /// What was asked, transaction names cut to their fixed part.
    fn asked(&self) -> Vec<String> {
        let cut = |line: &String| match line.split_once("tx=meshdog-") {
            Some((head, tail)) => format!("{head}tx=meshdog-*{}", tail.get(36..).unwrap()),
            None => line.clone(),
        };
        self.asked.lock().unwrap().iter().map(cut).collect()
    }
}

#[tokio::test]
async fn reads_and_names_things_as_the_host_does() {
    let host = host(|line| match line {
        "GET /os" => (200, r#"{"arch":"x86_64","variant_id":"aws-ecs-2","version_id":"1.20.5"}"#),
        line if line.starts_with("GET /settings") => (200, r#"{"motd":"x"}"#),
        _ => (204, ""),
    });
    assert_eq!(host.client.os().await.unwrap().version_id.as_deref(), Some("1.20.5"));
    assert_eq!(host.client.settings().await.unwrap().motd.as_deref(), Some("x"));
    let keys = ["settings.motd", r#"settings.ecs.instance-attributes."mesh.meshdog""#];
    host.client.settings_by_keys(&keys).await.unwrap();
    host.client.settings_by_prefix("host-containers.").await.unwrap();
    for action in [UpdateAction::Refresh, UpdateAction::Prepare, UpdateAction::Activate, UpdateAction::Deactivate] {
        host.client.act(action).await.unwrap();
    }
    host.client.reboot().await.unwrap();
    let expected = [
        "GET /os",
        "GET /settings",
        "GET /settings?keys=settings.motd%2Csettings.ecs.instance-attributes.%22mesh.meshdog%22",
        "GET /settings?prefix=host-containers.",
        "POST /actions/refresh-updates",
        "POST /actions/prepare-update",
        "POST /actions/activate-update",
        "POST /actions/deactivate-update",
        "POST /actions/reboot",
    ];
    assert_eq!(host.asked(), expected);
}

#[tokio::test]
async fn refusals_are_told_apart_and_carry_the_hosts_words() {
    let uninitialized = host(|_| (404, "Update status is uninitialized, refresh-updates to initialize it"));
    let error = uninitialized.client.updates_status().await.unwrap_err();
    assert!(error.is_uninitialized() && !error.is_busy());
    assert_eq!(
        error.to_string(),
        "the host API answered GET /updates/status with 404 Not Found: \
         Update status is uninitialized, refresh-updates to initialize it"
    );
    assert!(!uninitialized.client.act(UpdateAction::Prepare).await.unwrap_err().is_uninitialized());
    let ignorant = host(|_| (404, ""));
    let error = ignorant.client.updates_status().await.unwrap_err();
    assert!(error.is_unknown_route() && error.is_missing() && !error.is_uninitialized());

    let busy = host(|_| (423, "Update lock held"));
    assert!(busy.client.updates_status().await.unwrap_err().is_busy());
    let wrong = host(|_| (409, "Update action not allowed according to update state"));
    assert!(wrong.client.act(UpdateAction::Activate).await.unwrap_err().is_wrong_state());
    let redirect = host(|_| (302, ""));
    assert_eq!(redirect.client.os().await.unwrap_err().status(), Some(StatusCode::FOUND));
}

#[tokio::test]
async fn hostile_answers_are_bounded() {
    let text: &'static str = "a\nb\u{1b}[31mé".repeat(1000).leak();
    let rude = host(move |_| (500, text));
    let Error::Refused { text, .. } = rude.client.os().await.unwrap_err() else { panic!("not a refusal") };
    assert!(text.len() <= MAX_TEXT && text.starts_with("a b [31mé") && !text.contains(char::is_control));

    let large: &'static str = format!("{{\"x\":\"{}\"}}", "a".repeat(MAX_ANSWER)).leak();
    let endless = host(move |_| (200, large));
    assert!(matches!(endless.client.os().await, Err(Error::TooLarge { .. })));

    let garbage = host(|_| (200, "<html>"));
    assert!(matches!(garbage.client.settings().await, Err(Error::Shape { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_absent_server_is_no_answer_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let error = Client::new(dir.path().join("none.sock")).unwrap().os().await.unwrap_err();
    assert!(error.is_no_answer() && !error.is_broken_off(), "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn survives_a_restart_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let client = Client::new(&socket).unwrap();
    for _ in 0..2 {
        let listener = UnixListener::bind(&socket).unwrap();
        let router = Router::new().fallback(|| async { "{}" });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        client.os().await.unwrap();
        server.abort();
        let _ = server.await;
        std::fs::remove_file(&socket).unwrap();
        assert!(client.os().await.unwrap_err().is_no_answer());
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let cut = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
    });
    let client = Client::new(&socket).unwrap();
    let error = client.reboot().await.unwrap_err();
    assert!(error.is_no_answer() && error.is_broken_off(), "{error}");
    cut.await.unwrap();
    let dead = client.reboot().await.unwrap_err();
    assert!(dead.is_no_answer() && !dead.is_broken_off(), "{dead}");
}

#[tokio::test]
async fn what_holds_is_applied_by_name() {
    let host = host(|_| (204, ""));
    host.client.apply(&["settings.updates.version-lock", "settings.motd"]).await.unwrap();
    assert_eq!(host.asked(), ["POST /tx/apply?keys=settings.updates.version-lock%2Csettings.motd"]);
}

fn lock(version: &str) -> Settings {
    let updates = Updates { version_lock: Some(version.to_owned()), ..Updates::default() };
    Settings { updates: Some(updates), motd: Some("same".to_owned()), ..Settings::default() }
}

const PATCH: &str = r#"PATCH /settings?tx=meshdog-* {"updates":{"version-lock":"1.20.5"}}"#;

#[tokio::test]
async fn a_change_is_one_transaction_of_what_differs() {
    let host = host(|line| match line {
        "GET /settings" => (200, r#"{"motd":"same","updates":{"version-lock":"latest","seed":1}}"#),
        line if line.starts_with("PATCH") => (204, ""),
        line if line.starts_with("POST /tx/commit_and_apply?tx=") => (200, r#"["settings.updates.version-lock"]"#),
        _ => (500, "not expected"),
    });
    assert_eq!(host.client.change(&lock("1.20.5")).await.unwrap(), ["settings.updates.version-lock"]);
    assert_eq!(host.asked(), ["GET /settings", PATCH, "POST /tx/commit_and_apply?tx=meshdog-*"]);
    host.client.change(&lock("1.20.5")).await.unwrap();
    let names = host.asked.lock().unwrap().iter().filter(|line| line.starts_with("POST")).cloned().collect::<Vec<_>>();
    assert_ne!(names[0], names[1], "every change has a name of its own");
}

#[tokio::test]
async fn what_the_host_has_already_is_not_sent() {
    let host = host(|_| (200, r#"{"motd":"same","updates":{"version-lock":"1.20.5"}}"#));
    assert!(host.client.change(&lock("1.20.5")).await.unwrap().is_empty());
    assert_eq!(host.asked(), ["GET /settings"]);
}

#[tokio::test]
async fn nothing_pending_is_no_failure() {
    let host = host(|line| match line.split(' ').next() {
        Some("GET") => (200, "{}"),
        Some("PATCH") => (204, ""),
        _ => (422, "Tried to commit with no pending changes"),
    });
    assert!(host.client.change(&lock("1.20.5")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_change_is_deleted_under_its_own_name() {
    let refusing = host(|line| match line.split(' ').next() {
        Some("GET") => (200, r#"{"motd":"same"}"#),
        Some("PATCH") => (400, "Json deserialize error: unknown field `updates`"),
        _ => (200, "[]"),
    });
    let error = refusing.client.change(&lock("1.20.5")).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    assert_eq!(refusing.asked(), ["GET /settings", PATCH, "DELETE /tx?tx=meshdog-*"]);

    let failing = host(|line| match line.split(' ').next() {
        Some("GET") => (200, r#"{"motd":"same"}"#),
        Some("PATCH") => (204, ""),
        Some("POST") => (500, "Config applier was unable to fork child, returned 1"),
        _ => (200, "[]"),
    });
    let error = failing.client.change(&lock("1.20.5")).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(
        failing.asked(),
        ["GET /settings", PATCH, "POST /tx/commit_and_apply?tx=meshdog-*", "DELETE /tx?tx=meshdog-*"]
    );
}
