use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::*;

async fn server() -> Server {
    Server::start(&[("default", 1), ("workers", 2)]).await.unwrap()
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn request(server: &Server, path: &str, id: &str, group: &str) -> RequestBuilder {
    let body = json!({ "client_params": { "id": id, "group": group } });
    client().post(format!("{}{path}", server.url())).header("fleet-lock-protocol", "true").json(&body)
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let plain = response.headers().get("content-type").is_none_or(|value| value == "text/plain; charset=utf-8");
    assert!(plain, "{:?}", response.headers());
    let body = response.text().await.unwrap();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap_or(Value::String(body)) })
}

async fn lock(server: &Server, id: &str, group: &str) -> (u16, Value) {
    answer(request(server, "/v1/pre-reboot", id, group)).await
}

async fn unlock(server: &Server, id: &str, group: &str) -> (u16, Value) {
    answer(request(server, "/v1/steady-state", id, group)).await
}

const YES: (u16, Value) = (200, Value::Null);

#[tokio::test]
async fn slots_are_given_to_so_many_and_given_back() {
    let server = server().await;
    for id in ["b", "a", "a"] {
        assert_eq!(lock(&server, id, "workers").await, YES);
    }
    assert_eq!(server.holders("workers"), ["a", "b"]);
    let full = json!({ "kind": "failed_lock", "value": "all 2 semaphore slots currently locked" });
    assert_eq!(lock(&server, "c", "workers").await, (500, full));
    assert_eq!(unlock(&server, "c", "workers").await, YES, "not holding is well");
    assert_eq!(lock(&server, "a", "workers").await, YES, "a holder is granted again although all are held");
    assert_eq!(unlock(&server, "a", "workers").await, YES);
    assert_eq!(lock(&server, "c", "workers").await, YES);
    assert_eq!(lock(&server, "a", "default").await, YES, "groups have slots of their own");
    assert_eq!((server.holders("default"), server.holders("none").is_empty()), (vec!["a".to_owned()], true));
}

#[tokio::test]
async fn requests_must_be_well_formed() {
    let server = server().await;
    let refused = |problem: &str| {
        let value = format!("failed to validate client identity: {problem}");
        (400, json!({ "kind": "invalid_client_identity", "value": value }))
    };
    let url = format!("{}/v1/pre-reboot", server.url());
    let with_body = |body: &str| client().post(&url).header("fleet-lock-protocol", "true").body(body.to_owned());

    let bare = client().post(&url).json(&json!({ "client_params": { "id": "a", "group": "default" } }));
    assert_eq!(answer(bare.try_clone().unwrap()).await, refused("wrong 'fleet-lock-protocol' header"));
    let wrong = bare.header("fleet-lock-protocol", "yes");
    assert_eq!(answer(wrong).await, refused("wrong 'fleet-lock-protocol' header"));
    assert_eq!(answer(with_body("")).await, refused("EOF"));
    assert_eq!(answer(with_body("null")).await, refused("empty client group"));
    assert_eq!(answer(with_body(r#"{"client_params":{"id":"a"}}"#)).await, refused("empty client group"));
    assert_eq!(answer(with_body(r#"{"client_params":{"id":"","group":"g"}}"#)).await, refused("empty client ID"));
    for nonsense in ["{", "[]", r#"{"client_params":{"id":7,"group":"default"}}"#] {
        let (status, words) = answer(with_body(nonsense)).await;
        assert_eq!((status, words["kind"].as_str()), (400, Some("invalid_client_identity")), "{nonsense}: {words}");
    }
    let unknown = json!({ "kind": "unknown_group", "value": "unknown group \"nobody\"" });
    assert_eq!(lock(&server, "a", "nobody").await, (400, unknown.clone()));
    assert_eq!(unlock(&server, "a", "nobody").await, (400, unknown));
    let elsewhere = request(&server, "/v1/pre-reboot/", "a", "default");
    assert_eq!(answer(elsewhere).await, (404, json!("404 page not found\n")));
    assert!(server.holders("default").is_empty());

    // What airlock lets pass.
    assert_eq!(answer(with_body(r#"{"client_params":{"id":"a","group":"default","more":1}} rest"#)).await, YES);
    let put = client().request(Method::PUT, &url).header("fleet-lock-protocol", "true");
    assert_eq!(answer(put.body(r#"{"client_params":{"id":"a","group":"default"}}"#)).await, YES);
    assert_eq!(answer(client().get(&url).header("fleet-lock-protocol", "true")).await, refused("EOF"));
}

#[tokio::test]
async fn moods_change_answers_and_not_what_is_held() {
    let mut server = server().await;
    let url = server.url();
    assert_eq!(lock(&server, "a", "default").await, YES);
    server.turn(Mood::Down).await.unwrap();
    let refused = request(&server, "/v1/pre-reboot", "b", "default").send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    server.turn(Mood::Garbage(503, "<html>".to_owned())).await.unwrap();
    assert_eq!(lock(&server, "a", "default").await, (503, json!("<html>")));
    server.turn(Mood::Slow(Duration::from_millis(20))).await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(lock(&server, "b", "default").await.0, 500);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    server.turn(Mood::Up).await.unwrap();
    assert_eq!((server.url(), server.holders("default")), (url, vec!["a".to_owned()]));
    assert_eq!(unlock(&server, "a", "default").await, YES);
}
