//! The answers are those of etcd 3.4.23, and errors also as 3.6 words them. Against a real one: `tests/`.

use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::*;

const HEADER: &str =
    r#""header":{"cluster_id":"324952591200643719","member_id":"3319814642761637952","revision":"2","raft_term":"2"}"#;

/// A member that gives one answer to everything, and what it was asked.
struct Member {
    url: Url,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<Value>>>,
    serving: AbortHandle,
}

impl Member {
    async fn new(status: u16, body: &str) -> Self {
        let answer = Arc::new(Mutex::new((status, body.to_owned())));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (say, log) = (Arc::clone(&answer), Arc::clone(&asked));
        let router = Router::new().fallback(move |uri: axum::http::Uri, body: Bytes| async move {
            assert_eq!(uri.path(), "/v3/kv/txn");
            log.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let (status, body) = say.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), body)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, answer, asked, serving }
    }

    fn says(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn cluster(members: &[&Member]) -> Client {
    let endpoints: Vec<Url> = members.iter().map(|member| member.url.clone()).collect();
    Client::new(&endpoints, "/a/".into()).unwrap()
}

async fn read_one(client: &Client) -> Result<Vec<Entry>, Error> {
    client.read([Range::one("/a/b")]).await.map(|[entries]| entries)
}

fn with_entry() -> String {
    let entry = r#"{"key":"L2EvYg==","create_revision":"2","mod_revision":"2","version":"1","value":"aGk="}"#;
    let range = format!(r#"{{"response_range":{{"header":{{"revision":"2"}},"kvs":[{entry}],"count":"1"}}}}"#);
    format!(r#"{{{HEADER},"succeeded":true,"responses":[{range}]}}"#)
}

fn without_entry() -> String {
    format!(r#"{{{HEADER},"succeeded":true,"responses":[{{"response_range":{{"header":{{"revision":"2"}}}}}}]}}"#)
}

#[tokio::test]
async fn a_read_says_what_is_there() {
    let member = Member::new(200, &with_entry()).await;
    let client = cluster(&[&member]);
    let entry = Entry { key: b"/a/b".to_vec(), value: b"hi".to_vec(), mod_revision: 2 };
    assert_eq!(read_one(&client).await.unwrap(), [entry]);
    member.says(200, &without_entry());
    assert_eq!(read_one(&client).await.unwrap(), []);
    let range = json!({ "success": [{ "request_range": { "key": "L2EvYg==" } }] });
    assert_eq!(*member.asked.lock().unwrap(), [range.clone(), range]);
}

#[tokio::test]
async fn a_prefix_ends_before_the_next_key_that_does_not_begin_with_it() {
    let member = Member::new(200, &without_entry()).await;
    cluster(&[&member]).read([Range::newest_below("/a/", 7)]).await.unwrap();
    let range =
        json!({ "key": "L2Ev", "range_end": "L2Ew", "limit": "7", "sort_order": "DESCEND", "sort_target": "MOD" });
    assert_eq!(*member.asked.lock().unwrap(), [json!({ "success": [{ "request_range": range }] })]);
    assert_eq!((encode("/a/"), encode("/a0")), ("L2Ev".to_owned(), "L2Ew".to_owned()));
}

#[tokio::test]
async fn a_replacement_says_whether_it_was_made() {
    let done =
        format!(r#"{{{HEADER},"succeeded":true,"responses":[{{"response_put":{{"header":{{"revision":"2"}}}}}}]}}"#);
    let member = Member::new(200, &done).await;
    let client = cluster(&[&member]);
    assert!(client.replace("/a/b", 0, b"hi").await.unwrap());
    member.says(200, &format!("{{{HEADER}}}"));
    assert!(!client.replace("/a/b", 7, b"hi").await.unwrap());
    let asked = member.asked.lock().unwrap();
    let compare = json!([{ "key": "L2EvYg==", "target": "MOD", "result": "EQUAL", "mod_revision": "7" }]);
    assert_eq!(asked[0]["compare"][0]["mod_revision"], "0");
    assert_eq!(asked[1]["compare"], compare);
    assert_eq!(asked[1]["success"], json!([{ "request_put": { "key": "L2EvYg==", "value": "aGk=" } }]));
}

#[tokio::test]
async fn a_refusal_is_final_and_in_etcds_words() {
    let [first, second] = [Member::new(200, "").await, Member::new(200, &with_entry()).await];
    let client = cluster(&[&first, &second]);
    for refusal in [
        r#"{"error":"etcdserver: user name is empty","message":"etcdserver: user name is empty","code":3}"#,
        r#"{"code":3,"message":"etcdserver: user name is empty","details":[]}"#,
    ] {
        first.says(400, refusal);
        let error = read_one(&client).await.unwrap_err();
        assert_eq!(error.to_string(), format!("etcd at {} refused: etcdserver: user name is empty", first.url));
    }
    assert_eq!(second.times_asked(), 0);
}

#[tokio::test]
async fn a_member_that_cannot_serve_is_passed_over_for_the_next_which_is_asked_first_from_then_on() {
    let [first, second] = [Member::new(200, "").await, Member::new(200, &with_entry()).await];
    for (status, body) in [
        (503, r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#),
        (502, "<html>"),
        (404, "404 page not found\n"),
        (200, "<html>"),
        (200, "{}"),
        (200, &format!("{{{HEADER}}}")),
        (200, &with_entry().replace("aGk=", "!")),
        (200, &with_entry().replace("\"mod_revision\":\"2\"", "\"mod_revision\":\"x\"")),
        (302, ""),
    ] {
        first.says(status, body);
        let (client, asked) = (cluster(&[&first, &second]), first.times_asked());
        assert_eq!(read_one(&client).await.unwrap().len(), 1, "{status} {body}");
        assert_eq!(read_one(&client).await.unwrap().len(), 1);
        assert_eq!(first.times_asked(), asked + 1, "{status} {body}");
    }
}

#[tokio::test]
async fn without_any_member_the_error_names_each_and_why() {
    let [first, second, third] = [
        Member::new(503, r#"{"code":14,"message":"etcdserver: no leader"}"#).await,
        Member::new(404, "Not Found").await,
        Member::new(200, "").await,
    ];
    third.serving.abort();
    let client = cluster(&[&first, &second, &third]);
    tokio::task::yield_now().await;
    let error = read_one(&client).await.unwrap_err();
    let text = error.to_string();
    for part in [
        format!("{}: 503 Service Unavailable, etcdserver: no leader", first.url),
        format!("{}: 404 Not Found; is its JSON gateway on", second.url),
        format!("{}: error sending request", third.url),
        "check registry.etcd.endpoints".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let member = Member::new(200, &" ".repeat(MAX_ANSWER + 1)).await;
    let error = read_one(&cluster(&[&member])).await.unwrap_err();
    assert!(error.to_string().ends_with("`etcdctl get --prefix /a/`"), "{error}");
}
