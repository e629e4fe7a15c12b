use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::telemetry::inputs::tests::Fixture;
use crate::telemetry::metrics::Handles;
use crate::telemetry::{explain, metrics, status};

pub(super) struct Server {
    pub(super) all: Fixture,
    api: Arc<Api>,
    dir: tempfile::TempDir,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(all: Fixture) -> Self {
        let handles = Handles::default();
        let inputs = all.inputs();
        let registry = metrics::registry(&inputs, &handles);
        let api = Arc::new(Api::new(inputs, handles.traffic, registry, all.update.clone()));
        let dir = tempfile::tempdir().unwrap();
        let admin = Admin::bind(&dir.path().join("run/admin.sock")).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(admin.serve(Arc::clone(&api), stop.clone()));
        Self { all, api, dir, stop, task }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run/admin.sock")
    }

    /// Everything that the server answers to these bytes.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.path()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refused request may be answered and cut off before all of it was taken.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// Status code and body of a request.
    pub(super) async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let answer = self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: meshdog\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn every_route_answers() {
    let server = Server::start(Fixture::working()).await;
    assert_eq!(server.ask("GET", "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.ask("GET", "/readyz").await, (200, "ready\n".to_owned()));
    let (code, body) = server.ask("GET", "/status").await;
    assert_eq!((code, body), (200, serde_json::to_string(&status::build(&server.all.snapshot())).unwrap()));
    let (code, body) = server.ask("GET", "/explain?q=prod%2Forders").await;
    let answer: explain::Explanation = serde_json::from_str(&body).unwrap();
    assert_eq!((code, answer.query.as_str(), answer.known()), (200, "prod/orders", true));
    let (code, body) = server.ask("GET", "/metrics").await;
    assert_eq!(code, 200);
    assert!(body.contains("\nmeshdog_repairs_total 0\n"));
    let answer = server.raw("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_alive_and_says_what_it_waits_for() {
    let server = Server::start(Fixture::starting()).await;
    assert_eq!(server.ask("GET", "/healthz").await.0, 200);
    let (code, body) = server.ask("GET", "/readyz").await;
    assert_eq!(code, 503);
    assert_eq!(
        body,
        "waiting for the node's settings, Docker's first list, the registry's first snapshot, the dataplane, the resolver\n"
    );
}

#[tokio::test]
async fn what_it_does_not_serve_is_refused() {
    let server = Server::start(Fixture::working()).await;
    assert_eq!(server.ask("GET", "/").await.0, 404);
    assert_eq!(server.ask("GET", "/status/").await.0, 404);
    assert_eq!(server.ask("POST", "/status").await.0, 405);
    assert_eq!(server.ask("DELETE", "/nothing").await.0, 404);
    assert_eq!(server.ask("GET", "/explain").await.0, 400);
    assert_eq!(server.ask("GET", "/explain?q=+").await.0, 400);
    assert_eq!(server.ask("GET", &format!("/explain?q={}", "a".repeat(257))).await.0, 400);
    assert_eq!(server.ask("GET", "/explain?q=%ff%00%1b").await.0, 200);
    assert!(server.raw("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let server = Server::start(Fixture::working()).await;
    let long = format!("GET /status HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(MAX_HEAD));
    assert!(server.raw(&long).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /status HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
    assert!(server.raw(&many).await.starts_with("HTTP/1.1 431"));
    assert_eq!(server.ask("GET", "/healthz").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn clients_that_say_nothing_are_dropped_and_make_room() {
    let server = Server::start(Fixture::working()).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(UnixStream::connect(server.path()).await.unwrap());
    }
    assert_eq!(server.ask("GET", "/healthz").await.0, 200, "served once the silent ones are gone");
    let mut rest = Vec::new();
    silent[0].read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn one_connection_serves_one_request() {
    let server = Server::start(Fixture::working()).await;
    let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    assert_eq!(server.raw(&twice).await.matches("HTTP/1.1 200").count(), 1);
}

#[tokio::test]
async fn the_socket_is_its_owners_and_goes_at_the_end() {
    let server = Server::start(Fixture::working()).await;
    let path = server.path();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    server.stop.cancel();
    server.task.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let server = Server::start(Fixture::working()).await;
    assert!(matches!(Admin::bind(&server.path()).await, Err(AdminError::InUse(_))));

    let stale = server.dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    // What an agent leaves that died between making its socket and putting it in place.
    fs::write(stale.with_extension("new"), "").unwrap();
    let admin = Admin::bind(&stale).await.unwrap();
    UnixStream::connect(&stale).await.unwrap();
    assert!(!stale.with_extension("new").exists());

    fs::remove_file(&stale).unwrap();
    let another = Admin::bind(&stale).await.unwrap();
    drop(admin);
    assert!(stale.exists(), "the other agent's socket stays");
    drop(another);
    assert!(!stale.exists());
}

#[tokio::test]
async fn the_socket_of_an_agent_that_is_just_dying_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let dying = UnixListener::bind(&path).unwrap();
    let _standstill = FrozenClock::new();
    let dead = async {
        // Drops whoever has come, and answers nobody any more.
        drop(dying.accept().await.unwrap());
        drop(dying);
    };
    let (admin, ()) = tokio::join!(Admin::bind(&path), dead);
    let admin = admin.unwrap();
    UnixStream::connect(&path).await.unwrap();
    drop(admin);
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_names_its_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Admin::bind(&dir.path().join("file/admin.sock")).await.unwrap_err();
    assert!(matches!(&error, AdminError::Bind { .. }));
    assert!(error.to_string().contains("file/admin.sock"));
}

#[tokio::test]
async fn the_metrics_port_is_waited_for_and_serves_metrics_only() {
    let server = Server::start(Fixture::working()).await;
    let clock = FrozenClock::new();
    // An address that no other test takes a port of.
    let holder = std::net::TcpListener::bind("127.0.0.11:0").unwrap();
    let address = holder.local_addr().unwrap();
    let port = tokio::spawn(serve_metrics(address, Arc::clone(&server.api), server.stop.clone()));
    for _ in 0..3 {
        tokio::task::yield_now().await;
        clock.advance(BIND_AGAIN).await;
    }
    drop(holder);
    while TcpStream::connect(address).await.is_err() {
        clock.advance(BIND_AGAIN).await;
    }

    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ask("/metrics").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/status").await.starts_with("HTTP/1.1 404"));
    server.stop.cancel();
    port.await.unwrap();
}

#[tokio::test]
async fn everything_stops_when_told() {
    let server = Server::start(Fixture::working()).await;
    let path = server.dir.path().join("second.sock");
    let admin = Admin::bind(&path).await.unwrap();
    let run = tokio::spawn(super::super::run(admin, None, Arc::clone(&server.api), server.stop.clone()));
    server.stop.cancel();
    run.await.unwrap();
    assert!(!path.exists());
}
