use std::path::Path;
use std::sync::Mutex;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::*;

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

/// Fast, since the sockets are real and so must be the clock.
const FAST: Pace = Pace {
    poll: Duration::from_millis(50),
    grace: Duration::from_millis(300),
    retry: Duration::from_millis(10),
    answer: Duration::from_millis(200),
};

struct Bench {
    dir: TempDir,
    node: watch::Receiver<Option<Node>>,
    source: watch::Receiver<Source>,
    task: JoinHandle<()>,
    settings: Arc<Mutex<Value>>,
    imds_asked: Arc<Mutex<u32>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    async fn new(settings: NodeSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let imds_asked = Arc::new(Mutex::new(0));
        let paths = paths(dir.path(), imds(Arc::clone(&imds_asked)).await);
        let mut watch = HostWatch::new(settings, &paths).unwrap();
        watch.pace = FAST;
        let (node, source) = (watch.node(), watch.source());
        let tree = json!({"network": {"hostname": "host-a"}, "ecs": {"cluster": "prod"}, "aws": {"region": "r"}});
        let (task, settings) = (tokio::spawn(watch.run()), Arc::new(Mutex::new(tree)));
        Self { dir, node, source, task, settings, imds_asked }
    }

    /// Starts the host's API.
    fn api(&self) -> JoinHandle<()> {
        let socket = self.dir.path().join("api.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let settings = Arc::clone(&self.settings);
        let answer = move || async move {
            let settings = settings.lock().unwrap().clone();
            let status = if settings.is_null() { StatusCode::NOT_FOUND } else { StatusCode::OK };
            (status, settings.to_string())
        };
        let os = || async { r#"{"variant_id":"metal-dev","version_id":"1.20.5"}"# };
        let router = Router::new().route("/settings", get(answer)).route("/os", get(os));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    async fn node(&mut self, holds: impl Fn(&Node) -> bool) -> Node {
        let found = self.node.wait_for(|node| node.as_ref().is_some_and(&holds));
        timeout(Duration::from_secs(5), found).await.expect("such a node").unwrap().clone().unwrap()
    }

    async fn source(&mut self, word: &str) -> SourceState {
        let found = self.source.wait_for(|source| source.state.as_str() == word);
        timeout(Duration::from_secs(5), found).await.expect(word).unwrap().state.clone()
    }
}

fn paths(dir: &Path, imds: String) -> Paths {
    Paths {
        api_socket: dir.join("api.sock"),
        docker_socket: dir.join("none"),
        state_dir: dir.join("none"),
        admin_socket: dir.join("none"),
        ecs_introspection: imds.parse().unwrap(),
        signpost: dir.join("none"),
        imds: imds.parse().unwrap(),
    }
}

/// A metadata service on loopback that counts how often it is asked for a token.
async fn imds(asked: Arc<Mutex<u32>>) -> String {
    let token = move || async move {
        *asked.lock().unwrap() += 1;
        "token"
    };
    let router = Router::new()
        .route("/latest/api/token", axum::routing::put(token))
        .route("/latest/meta-data/local-ipv4", get(|| async { "10.0.12.34" }))
        .route("/latest/meta-data/placement/availability-zone", get(|| async { "us-west-2a" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

fn auto() -> NodeSettings {
    NodeSettings { advertise: Auto::Auto, zone: Auto::Auto }
}

fn given() -> NodeSettings {
    NodeSettings { advertise: Auto::Set(GIVEN), zone: Auto::Set(None) }
}

#[tokio::test]
async fn the_host_and_the_instance_say_who_this_is() {
    let mut bench = Bench::new(auto()).await;
    let _api = bench.api();
    let node = bench.node(|_| true).await;
    assert_eq!((&*node.name, node.address), ("host-a", Ipv4Addr::new(10, 0, 12, 34)));
    assert_eq!((node.zone.as_deref(), node.cluster.as_deref()), (Some("us-west-2a"), Some("prod")));
    assert_eq!(node.os_version.as_deref(), Some("1.20.5"));
    assert_eq!(bench.source("up").await, SourceState::Up);
}

#[tokio::test]
async fn off_aws_the_metadata_service_is_never_asked() {
    let mut bench = Bench::new(NodeSettings { zone: Auto::Auto, ..given() }).await;
    bench.settings.lock().unwrap()["aws"] = json!({});
    let _api = bench.api();
    assert_eq!(bench.node(|_| true).await.zone, None);
    sleep(FAST.poll * 3).await;
    assert_eq!(*bench.imds_asked.lock().unwrap(), 0);
}

#[tokio::test]
async fn on_aws_it_is_not_asked_for_what_is_given() {
    let mut bench = Bench::new(given()).await;
    let _api = bench.api();
    assert_eq!(bench.node(|_| true).await.address, GIVEN);
    assert_eq!(*bench.imds_asked.lock().unwrap(), 0);
}

#[tokio::test]
async fn without_the_api_the_node_comes_after_the_grace_and_is_amended_later() {
    let started = Instant::now();
    let mut bench = Bench::new(given()).await;
    let node = bench.node(|_| true).await;
    assert!(started.elapsed() >= FAST.grace, "the API had its time");
    assert!(started.elapsed() < FAST.grace * 3, "but not more");
    assert_eq!((node.address, &node.cluster), (GIVEN, &None));
    let SourceState::Down(reason) = bench.source("down").await else { panic!("down without a reason") };
    assert!(reason.contains("api.sock") && reason.contains("No such file"), "{reason}");

    let _api = bench.api();
    let node = bench.node(|node| node.cluster.is_some()).await;
    assert_eq!((&*node.name, node.address), ("host-a", GIVEN));
    bench.source("up").await;
}

#[tokio::test]
async fn an_api_that_never_answers_is_given_up_on_in_time() {
    let mut bench = Bench::new(given()).await;
    let _silent = UnixListener::bind(bench.dir.path().join("api.sock")).unwrap();
    let started = Instant::now();
    bench.node(|_| true).await;
    assert!(started.elapsed() < FAST.grace * 3);
    bench.source("down").await;
}

#[tokio::test]
async fn what_was_known_stays_while_the_api_is_away() {
    let mut bench = Bench::new(given()).await;
    let _api = bench.api();
    bench.node(|node| node.cluster.as_deref() == Some("prod")).await;
    *bench.settings.lock().unwrap() = Value::Null;
    bench.source("down").await;
    assert_eq!(bench.node.borrow().as_ref().unwrap().cluster.as_deref(), Some("prod"));
}

#[tokio::test]
async fn only_changes_are_published() {
    let mut bench = Bench::new(given()).await;
    let _api = bench.api();
    bench.node(|_| true).await;
    bench.source("up").await;
    sleep(FAST.poll * 4).await;
    assert!(!bench.node.has_changed().unwrap() && !bench.source.has_changed().unwrap(), "polls publish nothing");
    bench.settings.lock().unwrap()["dns"] = json!({"name-servers": ["10.0.0.2"]});
    assert_eq!(&*bench.node(|node| !node.resolvers.is_empty()).await.resolvers, [Ipv4Addr::new(10, 0, 0, 2)]);
}

#[test]
fn the_kernel_names_no_loopback() {
    let facts = kernel();
    assert!(facts.hostname.is_some());
    assert!(facts.address.is_none_or(|address| !address.is_loopback() && !address.is_unspecified()));
}
