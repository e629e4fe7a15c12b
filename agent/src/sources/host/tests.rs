//! Against the simulated host.

use meshdog_tests::host::serve::{Presence, Server};
use meshdog_tests::host::{Options, SimHost};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::frozen_clock::FrozenClock;

const GIVEN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));

/// What answers at all does so long before its time is up, however often the clock is moved meanwhile.
const PACE: Pace = Pace {
    poll: Duration::from_secs(1),
    grace: Duration::from_secs(6),
    retry: Duration::from_millis(200),
    answer: Duration::from_secs(60),
};

struct Bench {
    clock: FrozenClock,
    _dir: TempDir,
    host: SimHost,
    node: watch::Receiver<Option<Node>>,
    source: watch::Receiver<Source>,
    task: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    /// A watch that begins while the host's API is so.
    async fn new(settings: NodeSettings, presence: Presence) -> Self {
        Self::with(settings, presence, |_| {}).await
    }

    async fn with(settings: NodeSettings, presence: Presence, change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.instance.address = Ipv4Addr::new(10, 0, 12, 34);
        change(&mut options);
        let host = SimHost::start(options).await.unwrap();
        host.state.present(presence).await.unwrap();
        let mut watch = HostWatch::new(settings, &paths(&host)).unwrap();
        watch.pace = PACE;
        let clock = FrozenClock::new();
        let (node, source) = (watch.node(), watch.source());
        let task = tokio::spawn(watch.run());
        Self { clock, _dir: dir, host, node, source, task }
    }

    /// Lets time pass until such a node is published.
    async fn node(&mut self, holds: impl Fn(&Node) -> bool) -> Node {
        let found = || self.node.borrow().as_ref().is_some_and(&holds);
        self.clock.advance_until(PACE.retry, "such a node", found).await;
        self.node.borrow_and_update().clone().unwrap()
    }

    async fn source(&mut self, word: &str) -> SourceState {
        let found = || self.source.borrow().state.as_str() == word;
        self.clock.advance_until(PACE.poll, word, found).await;
        self.source.borrow_and_update().state.clone()
    }

    /// Lets the API be polled so often, and one poll's answers be taken before the next.
    async fn polls(&self, times: usize) {
        let polled = || self.asked(Server::Api, "/os");
        for before in (polled()..).take(times) {
            self.clock.advance_until(PACE.poll, "another poll", || polled() > before).await;
        }
    }

    /// Changes settings on the host, as an operator would.
    async fn change(&self, change: Value) {
        let client = Client::new(&self.host.api).unwrap();
        client.change(&serde_json::from_value(change).unwrap()).await.unwrap();
    }

    /// How often a server of the host was asked for what begins so.
    fn asked(&self, server: Server, uri: &str) -> usize {
        let state = self.host.state.lock();
        state.asked.iter().filter(|asked| asked.server == server && asked.uri.starts_with(uri)).count()
    }

    /// How often the metadata service was asked anything.
    fn imds_asked(&self) -> usize {
        self.asked(Server::Imds, "")
    }
}

fn paths(host: &SimHost) -> Paths {
    let nowhere = host.api.with_file_name("nowhere");
    Paths {
        api_socket: host.api.clone(),
        docker_socket: nowhere.clone(),
        docker_root: Auto::Auto,
        state_dir: nowhere.clone(),
        admin_socket: nowhere.clone(),
        ecs_introspection: format!("http://{}", host.ecs).parse().unwrap(),
        signpost: nowhere.clone(),
        imds: format!("http://{}", host.imds).parse().unwrap(),
        boot_id: nowhere,
    }
}

fn auto() -> NodeSettings {
    NodeSettings { advertise: Auto::Auto, zone: Auto::Auto }
}

fn given() -> NodeSettings {
    NodeSettings { advertise: Auto::Set(GIVEN), zone: Auto::Set(None) }
}

#[tokio::test]
async fn the_host_and_the_instance_say_who_this_is() {
    let mut bench = Bench::new(auto(), Presence::Up).await;
    let node = bench.node(|_| true).await;
    assert_eq!((&*node.name, node.address), ("simhost", IpAddr::from([10, 0, 12, 34])));
    assert_eq!((node.zone.as_deref(), node.os_version.as_deref()), (Some("us-west-2a"), Some("1.20.5")));
    assert_eq!(bench.source("up").await, SourceState::Up);
    bench.polls(3).await;
    assert_eq!(bench.imds_asked(), 3, "token, address and zone, once");
}

#[tokio::test]
async fn off_aws_the_metadata_service_is_never_asked() {
    let settings = NodeSettings { zone: Auto::Auto, ..given() };
    let off_aws = |options: &mut Options| {
        options.os.variant_id = "metal-dev".to_owned();
        options.instance.region = String::new();
    };
    let mut bench = Bench::with(settings, Presence::Up, off_aws).await;
    assert_eq!(bench.node(|_| true).await.zone, None);
    bench.polls(3).await;
    assert_eq!(bench.imds_asked(), 0);
}

#[tokio::test]
async fn on_aws_it_is_not_asked_for_what_is_given() {
    let mut bench = Bench::new(given(), Presence::Up).await;
    assert_eq!(bench.node(|_| true).await.address, GIVEN);
    assert_eq!(bench.imds_asked(), 0);
}

#[tokio::test]
async fn without_the_api_the_node_comes_after_the_grace_and_is_amended_later() {
    let mut bench = Bench::new(given(), Presence::Away).await;
    let started = Instant::now();
    let node = bench.node(|_| true).await;
    assert!(started.elapsed() >= PACE.grace, "the API had its time");
    assert!(started.elapsed() < PACE.grace * 3, "but not more");
    assert_eq!((node.address, &node.os_version), (GIVEN, &None));
    let SourceState::Down(reason) = bench.source("down").await else { panic!("down without a reason") };
    assert!(reason.contains("api.sock") && reason.contains("No such file"), "{reason}");

    bench.host.state.present(Presence::Up).await.unwrap();
    let node = bench.node(|node| node.os_version.is_some()).await;
    assert_eq!((&*node.name, node.address), ("simhost", GIVEN));
    bench.source("up").await;
}

#[tokio::test]
async fn an_api_that_never_answers_is_given_up_on_in_time() {
    let mut bench = Bench::new(given(), Presence::Hung).await;
    let started = Instant::now();
    bench.node(|_| true).await;
    assert!(started.elapsed() < PACE.grace * 3);
    bench.source("down").await;
}

#[tokio::test]
async fn what_was_known_stays_while_the_api_is_away() {
    let mut bench = Bench::new(given(), Presence::Up).await;
    let known = bench.node(|node| node.os_version.is_some()).await;
    for presence in [Presence::Dead, Presence::Hung, Presence::Away] {
        bench.host.state.present(presence).await.unwrap();
        bench.source("down").await;
        bench.clock.advance(PACE.answer).await;
        bench.clock.settle().await;
        assert_eq!(bench.node.borrow().as_ref(), Some(&known), "{presence:?}");
        bench.host.state.present(Presence::Up).await.unwrap();
        bench.source("up").await;
    }
}

#[tokio::test]
async fn only_changes_are_published() {
    let mut bench = Bench::new(given(), Presence::Up).await;
    bench.node(|_| true).await;
    bench.source("up").await;
    bench.polls(4).await;
    assert!(!bench.node.has_changed().unwrap() && !bench.source.has_changed().unwrap(), "polls publish nothing");
    bench.change(json!({"network": {"hostname": "renamed"}})).await;
    assert_eq!(&*bench.node(|node| &*node.name != "simhost").await.name, "renamed");
}

#[test]
fn the_kernel_names_no_loopback() {
    let facts = kernel();
    assert!(facts.hostname.is_some());
    assert!(facts.address.is_none_or(|address| !address.is_loopback() && !address.is_unspecified()));
}
