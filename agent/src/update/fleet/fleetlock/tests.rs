use std::time::Duration;

use meshdog_tests::fleetlock::{Mood, Server};

use super::*;
use crate::model::error_chain;

/// A server with one slot for `default`, and a client of it.
async fn bench() -> (Server, LockServer) {
    let server = Server::start(&[("default", 1)]).await.unwrap();
    let client = client(&server, "default");
    (server, client)
}

fn client(server: &Server, group: &str) -> LockServer {
    LockServer::new(&server.url().parse().unwrap(), &group.into()).unwrap()
}

fn says(status: u16, kind: &str, value: &str) -> Mood {
    Mood::Garbage(status, json!({ "kind": kind, "value": value }).to_string())
}

#[tokio::test]
async fn one_node_at_a_time() {
    let (server, client) = bench().await;
    assert_eq!(client.acquire("a").await.unwrap(), Grant::Granted);
    assert_eq!(client.acquire("a").await.unwrap(), Grant::Granted, "it is granted again, as after a reboot");
    let words = "all 1 semaphore slots currently locked".into();
    assert_eq!(client.acquire("b").await.unwrap(), Grant::Refused(words));
    client.release("b").await.unwrap();
    assert_eq!(server.holders("default"), ["a"]);
    client.release("a").await.unwrap();
    client.release("a").await.unwrap();
    assert_eq!(client.acquire("b").await.unwrap(), Grant::Granted);
}

#[tokio::test]
async fn a_wrong_request_is_no_refusal() {
    let (server, _) = bench().await;
    let stranger = client(&server, "nobody");
    for error in [stranger.acquire("a").await.unwrap_err(), stranger.release("a").await.unwrap_err()] {
        assert!(matches!(error, LockServerError::Failed { status: StatusCode::BAD_REQUEST, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("unknown group \"nobody\"") && text.contains("update.fleet.group"), "{text}");
    }
}

#[tokio::test]
async fn servers_refuse_in_their_own_ways() {
    let (mut server, client) = bench().await;
    for mood in [
        says(423, "lock_held", "held by x"),
        says(409, "conflict", "held by x"),
        says(500, "failed_lock", "held by x"),
        says(503, "failed_lock_semaphore_full", "held by x"),
        says(423, "held by x", ""),
    ] {
        server.turn(mood.clone()).await.unwrap();
        assert_eq!(client.acquire("a").await.unwrap(), Grant::Refused("held by x".into()), "{mood:?}");
    }
    server.turn(says(500, "failed_sem_init", "etcd is\n\x07down")).await.unwrap();
    let error = client.acquire("a").await.unwrap_err();
    assert!(error.to_string().contains("500 Internal Server Error: etcd is  down;"), "{error}");
}

#[tokio::test]
async fn a_release_that_failed_is_told_from_one_that_was_not_needed() {
    let (mut server, client) = bench().await;
    server.turn(says(423, "lock_held", "reboot lease unlock unavailable, held by x")).await.unwrap();
    client.release("a").await.unwrap();
    for mood in [says(500, "failed_lock", "conflict on semaphore detected, aborting"), says(409, "conflict", "x")] {
        server.turn(mood).await.unwrap();
        assert!(matches!(client.release("a").await, Err(LockServerError::Failed { .. })));
    }
}

#[tokio::test]
async fn whoever_is_no_lock_server_is_not_believed() {
    let (mut server, client) = bench().await;
    let endless = format!("{{\"kind\":\"lock_held\",\"value\":\"{}\"}}", "x".repeat(LIMITS.body));
    for (status, body) in [
        (503, "<html>Service Unavailable</html>"),
        (404, "404 page not found\n"),
        (423, "{\"kind\":\"lock_held\"}"),
        (302, ""),
        (204, ""),
        (423, endless.as_str()),
    ] {
        server.turn(Mood::Garbage(status, body.to_owned())).await.unwrap();
        let error = client.acquire("a").await.unwrap_err();
        assert!(matches!(error, LockServerError::Strange { .. }), "{status}: {error:?}");
        assert!(error.to_string().contains(&server.url()), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_until_it_is_back() {
    let (mut server, client) = bench().await;
    assert_eq!(client.acquire("a").await.unwrap(), Grant::Granted);
    server.turn(Mood::Down).await.unwrap();
    let error = client.release("a").await.unwrap_err();
    assert!(matches!(error, LockServerError::NoAnswer { .. }), "{error:?}");
    let text = error_chain(&error);
    assert!(text.contains("/v1/steady-state; check update.fleet.url") && text.contains("refused"), "{text}");
    server.turn(Mood::Up).await.unwrap();
    client.release("a").await.unwrap();
    assert!(server.holders("default").is_empty());
}

/// With the clock paused, time passes as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_waited_for() {
    let (mut server, client) = bench().await;
    server.turn(Mood::Slow(Duration::from_secs(24 * 3600))).await.unwrap();
    match client.acquire("a").await.unwrap_err() {
        LockServerError::NoAnswer { source, .. } => assert!(source.is_timeout(), "{source:?}"),
        error => panic!("{error:?}"),
    }
}
