use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::report::MAX_FOUND;
use super::*;
use crate::config::Auto;
use crate::model::{
    CapturedServers, Endpoint, EndpointAddresses, EndpointId, EndpointState, Frontend, L4, LocalNetwork, Names,
    Ruleset, ServiceId, View,
};
use crate::names::dns::{self, Lease};
use crate::names::served::Served;

/// Of an endpoint of this node.
pub(super) fn own(local: SocketAddr) -> EndpointAddresses {
    let local = local.try_into().unwrap();
    EndpointAddresses::Own { network: LocalNetwork::Bridge, local, published: None }
}

fn id(service: &str) -> ServiceId {
    let (namespace, name) = service.split_once('/').unwrap();
    ServiceId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

/// Endpoint number `n` of `namespace/name`.
pub(super) fn endpoint(service: &str, n: u8, state: EndpointState) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        service: id(service),
        id: EndpointId::new(&format!("{n:012x}"), NonZeroU16::MIN, L4::Tcp),
        addresses: own(SocketAddr::new([172, 17, 0, n].into(), 8080)),
        protocol: Default::default(),
        aliases: ["web:80".parse().unwrap()].into(),
        weight: Default::default(),
        node: "node".into(),
        zone: None,
        task: "task".into(),
        container: "c".into(),
        started_ms: 1,
        state,
        last_resort: false,
        reason: "so it is".into(),
    })
}

pub(super) fn endpoints(all: impl IntoIterator<Item = Arc<Endpoint>>) -> Endpoints {
    all.into_iter().map(|endpoint| (endpoint.key(), endpoint)).collect()
}

/// A mesh in which these services are dialled at these addresses, and are there themselves.
pub(super) fn served(services: &[(&str, SocketAddr)]) -> Desired {
    let mut desired = Desired::default();
    let mut ruleset = Ruleset::default();
    for (service, address) in services {
        let service = id(service);
        let port = NonZeroU16::new(address.port()).unwrap();
        let frontend = Frontend { vip: address.ip(), l4: L4::Tcp, port };
        ruleset.frontends.insert(frontend, [*address].into());
        desired.names.insert(service.qualified().unwrap(), address.ip().into());
        desired.served.insert(frontend, service);
    }
    desired.rulesets = [(View::Node, Arc::new(ruleset))].into();
    desired
}

/// An address that is taken and refuses, for as long as the socket does not listen.
pub(super) fn bound() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A listener whose queue is full: further connections hang.
pub(super) async fn full() -> ([TcpStream; 2], TcpListener, SocketAddr) {
    let (socket, address) = bound();
    let listener = socket.listen(1).unwrap();
    // One more than it was asked for.
    let held = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let begun = std::time::Instant::now();
    while waiting(address) < held.len() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the queue never gets full");
        tokio::task::yield_now().await;
    }
    (held, listener, address)
}

/// How many connections wait to be accepted there.
fn waiting(address: SocketAddr) -> usize {
    let sockets = procfs::net::tcp().unwrap();
    let listens = |socket: &procfs::net::TcpNetEntry| {
        socket.local_address == address && socket.state == procfs::net::TcpState::Listen
    };
    sockets.into_iter().find(listens).map_or(0, |listener| listener.rx_queue as usize)
}

struct Kept;

impl Lease for Kept {
    type Error = Infallible;

    async fn renew(&mut self, _: Arc<[crate::model::QueryPath]>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Where nobody listens.
pub(super) const NOBODY: &str = "127.77.0.1:9";

/// What may be told where these names are known.
pub(super) fn told(names: Names) -> Served {
    Served { names, ..Served::default() }
}

/// The agent's own resolver on loopback, and what it knows; it asks the server at `upstream` for anything else.
pub(super) async fn resolver(names: Option<Names>, upstream: SocketAddr) -> (SelfQuery, watch::Sender<Option<Served>>) {
    let config = dns::ResolverConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        host: false,
        upstream: Auto::Auto,
        zones: dns::Zones::default(),
        mark: None,
    };
    let (names, served) = watch::channel(names.map(told));
    let servers = CapturedServers { containers: [upstream].into(), ..CapturedServers::default() };
    let inputs = dns::ResolverInputs {
        served,
        servers: watch::channel(servers).1,
        containers: watch::channel(None).1,
        vantages: watch::channel(None).1,
    };
    let (state, mut seen) = watch::channel(dns::ResolverState::Starting);
    tokio::spawn(dns::run(config, inputs, Kept, dns::ResolverMetrics::default(), state, Default::default()));
    let listening = |state: &dns::ResolverState| matches!(state, dns::ResolverState::Listening { .. });
    let state = seen.wait_for(listening).await.unwrap().clone();
    let dns::ResolverState::Listening { address, .. } = state else { panic!("{state:?}") };
    (SelfQuery::new(address, None), names)
}

/// A node with a service at loopback, a container of it, and every part well.
struct Node {
    host_api: watch::Sender<Source>,
    docker: watch::Sender<Source>,
    dataplane: watch::Sender<DataplaneState>,
    desired: watch::Sender<Option<Arc<Desired>>>,
    own: watch::Sender<Option<Endpoints>>,
    settings: VerifySettings,
    _service: TcpListener,
}

impl Node {
    async fn well() -> Self {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = service.local_addr().unwrap();
        let up = || watch::Sender::new(Source { state: SourceState::Up, ..Source::starting() });
        let in_sync = DataplaneState::of_one(|state| state.in_sync = true);
        let own = endpoints((1..=10).map(|n| endpoint("prod/orders", n, EndpointState::Healthy)));
        Self {
            host_api: up(),
            docker: up(),
            dataplane: watch::Sender::new(in_sync),
            desired: watch::Sender::new(Some(Arc::new(served(&[("prod/orders", address)])))),
            own: watch::Sender::new(Some(own)),
            settings: VerifySettings {
                deadline: Duration::from_secs(600),
                settle: Duration::from_secs(120),
                min_healthy: 0.9,
                services: vec!["orders".parse().unwrap()],
                http: Vec::new(),
                tcp: vec![address],
            },
            _service: service,
        }
    }

    fn verify(&self, resolver: Option<SelfQuery>) -> Result<Verify, Error> {
        let inputs = Inputs {
            host_api: self.host_api.subscribe(),
            docker: self.docker.subscribe(),
            dataplane: self.dataplane.subscribe(),
            desired: self.desired.subscribe(),
            own: self.own.subscribe(),
        };
        Verify::new(&self.settings, &"prod".parse().unwrap(), resolver, inputs)
    }
}

fn names(report: &Report) -> Vec<&str> {
    report.checks.iter().map(|check| &*check.name).collect()
}

fn failing(report: &Report) -> Vec<&str> {
    report.failing().map(|check| &*check.name).collect()
}

/// A server that takes requests and never answers; tells of each.
async fn silent() -> (String, tokio::sync::mpsc::UnboundedReceiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (asked, out) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let _ = asked.send(stream);
        }
    });
    (url, out)
}

#[tokio::test]
async fn a_node_that_is_well() {
    let node = Node::well().await;
    let names_known = node.desired.borrow().as_ref().unwrap().names.clone();
    let (resolver, _names) = resolver(Some(names_known), NOBODY.parse().unwrap()).await;
    let verify = node.verify(Some(resolver)).unwrap();
    let baseline = verify.baseline().await;
    assert_eq!(baseline.healthy, BTreeMap::from([("prod/orders".to_owned(), 10)]));
    assert_eq!(baseline.failed, [""; 0]);
    let report = verify.check(&baseline).await;
    assert_eq!(failing(&report), [""; 0], "{report:?}");
    let tcp = format!("tcp {}", node.settings.tcp[0]);
    let all = ["host-api", "docker", "dataplane", "vip", "dns", "endpoints", "service prod/orders", &tcp];
    assert_eq!(names(&report), all);
    assert!(report.good());
    assert_eq!(report.checks[1].to_string(), "docker ok: up");
    // Without capture nobody asks the resolver.
    let report = node.verify(None).unwrap().check(&baseline).await;
    assert!(report.good() && !names(&report).contains(&"dns"));
}

#[tokio::test]
async fn each_part_that_is_unwell_is_named() {
    let node = Node::well().await;
    let verify = node.verify(None).unwrap();
    let baseline = verify.baseline().await;

    for state in [SourceState::Starting, SourceState::Down("no\nsuch file".into()), SourceState::Off] {
        node.docker.send_modify(|source| source.state = state.clone());
        node.host_api.send_modify(|source| source.state = state.clone());
        assert_eq!(failing(&verify.check(&baseline).await), ["host-api", "docker"], "{state:?}");
    }
    node.docker.send_modify(|source| source.state = SourceState::Down("no\nsuch file".into()));
    let report = verify.check(&baseline).await;
    assert_eq!(report.checks[1].to_string(), "docker failed: down: no such file");

    let node = Node::well().await;
    let verify = node.verify(None).unwrap();
    let desired = node.desired.send_replace(None);
    assert_eq!(failing(&verify.check(&baseline).await), ["dataplane", "vip"]);
    node.desired.send_replace(desired);

    let half = endpoints((1..=10).map(|n| {
        let state = if n <= 8 { EndpointState::Healthy } else { EndpointState::Starting };
        endpoint("prod/orders", n, state)
    }));
    node.own.send_replace(Some(half));
    assert_eq!(failing(&verify.check(&baseline).await), ["endpoints"]);
    node.own.send_replace(Some(Endpoints::new()));
    assert_eq!(failing(&verify.check(&baseline).await), ["endpoints", "service prod/orders"]);
    node.own.send_replace(None);
    assert_eq!(failing(&verify.check(&baseline).await), ["endpoints", "service prod/orders"]);
}

#[tokio::test]
async fn a_kernel_that_stays_behind_is_unwell() {
    let mut node = Node::well().await;
    // Nothing that takes time of its own: the clock runs ahead.
    node.settings.tcp.clear();
    node.desired.send_replace(Some(Arc::default()));
    node.dataplane.send_modify(|state| state.change(|state| (state.in_sync, state.failures) = (false, 3)));
    let verify = node.verify(None).unwrap();
    tokio::time::pause();
    let report = verify.check(&Baseline::default()).await;
    let failing: Vec<String> = report.failing().map(Check::to_string).collect();
    assert_eq!(failing, ["dataplane failed: the kernel does not hold what is desired; it refused 3 transactions"]);
}

#[tokio::test]
async fn a_kernel_that_is_just_catching_up_is_waited_for() {
    let node = Node::well().await;
    node.dataplane.send_modify(|state| state.change(|state| state.in_sync = false));
    let verify = node.verify(None).unwrap();
    let check = tokio::spawn(async move { verify.check(&Baseline::default()).await });
    tokio::task::yield_now().await;
    node.dataplane.send_modify(|state| state.change(|state| state.in_sync = true));
    assert!(check.await.unwrap().good());
}

#[tokio::test]
async fn what_was_broken_before_is_not_held_against_the_update() {
    let mut node = Node::well().await;
    let (_socket, refusing) = bound();
    node.settings.services.push("gone".parse().unwrap());
    node.settings.http.push(format!("http://{refusing}/?token=hidden").parse().unwrap());
    node.settings.tcp.push(refusing);
    node.docker.send_modify(|source| source.state = SourceState::Starting);
    let verify = node.verify(None).unwrap();
    let baseline = verify.baseline().await;
    let broken = [format!("service {}", "prod/gone"), format!("http http://{refusing}/?…"), format!("tcp {refusing}")];
    assert_eq!(baseline.failed, broken);

    let report = verify.check(&baseline).await;
    assert_eq!(failing(&report), ["docker"], "never excused");
    let excused: Vec<&Check> = report.checks.iter().filter(|check| broken.contains(&check.name.to_string())).collect();
    assert_eq!(excused.len(), 3);
    assert!(excused.iter().all(|check| check.ok && check.found.starts_with("fails as it did before the update: ")));
    assert!(!format!("{report:?}").contains("hidden"));

    // Another one that breaks is.
    node.own.send_replace(Some(endpoints((1..=10).map(|n| endpoint("prod/cart", n, EndpointState::Healthy)))));
    assert_eq!(failing(&verify.check(&baseline).await), ["docker", "service prod/orders"]);
    // And without a baseline all are.
    let report = verify.check(&Baseline::default()).await;
    assert_eq!(failing(&report).len(), 5, "{report:?}");
}

#[tokio::test]
async fn a_baseline_from_before_the_endpoints_are_known_excuses_no_service() {
    let node = Node::well().await;
    node.own.send_replace(None);
    let baseline = node.verify(None).unwrap().baseline().await;
    assert_eq!(baseline, Baseline::default());
}

#[tokio::test]
async fn fixed_checks_are_never_excused() {
    let node = Node::well().await;
    let verify = node.verify(None).unwrap();
    node.docker.send_modify(|source| source.state = SourceState::Starting);
    let failed = ["host-api", "docker", "dataplane", "vip", "dns", "endpoints"].map(str::to_owned).into();
    let report = verify.check(&Baseline { failed, ..Baseline::default() }).await;
    assert_eq!(failing(&report), ["docker"]);
}

#[tokio::test]
async fn one_that_hangs_delays_no_other() {
    let mut node = Node::well().await;
    let (hanging, mut asked) = silent().await;
    node.settings.http = (0..64).map(|n| format!("{hanging}{n}").parse().unwrap()).collect();
    let verify = node.verify(None).unwrap();
    let check = tokio::spawn(async move { verify.check(&Baseline::default()).await });
    // All wait at once; only now may their time be over.
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(asked.recv().await.unwrap());
    }
    tokio::time::pause();
    let report = check.await.unwrap();
    assert_eq!(failing(&report).len(), 64, "{report:?}");
    assert!(report.failing().all(|check| check.name.starts_with("http ") && &*check.found == "no answer within 5s"));
    tokio::time::resume();
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "nobody waits on the connection any more");
    }
}

#[tokio::test]
async fn a_look_ends_however_much_hangs() {
    let mut node = Node::well().await;
    let (_held, _listener, hangs) = full().await;
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver_address = resolver.local_addr().unwrap();
    node.settings.http = vec![format!("http://{hangs}/").parse().unwrap()];
    node.settings.tcp = vec![hangs];
    node.desired.send_replace(Some(Arc::new(served(&[("prod/orders", hangs)]))));
    node.dataplane.send_modify(|state| state.change(|state| state.in_sync = false));
    let verify = node.verify(Some(SelfQuery::new(resolver_address, None))).unwrap();
    tokio::time::pause();
    let begin = Instant::now();
    let report = verify.check(&Baseline::default()).await;
    assert!(begin.elapsed() <= Duration::from_secs(10));
    let (http, tcp) = (format!("http http://{hangs}/"), format!("tcp {hangs}"));
    assert_eq!(failing(&report), ["dataplane", "vip", "dns", &http, &tcp]);
}

#[test]
fn what_was_found_is_short_and_one_line() {
    let check = Check::new("x", Err(format!("a\r\n\u{1b}[2J{}", "é".repeat(2 * MAX_FOUND))));
    assert!(check.found.starts_with("a   [2J") && check.found.chars().count() == MAX_FOUND);
    assert!(!check.to_string().chars().any(char::is_control));
}

#[test]
fn a_journal_without_a_baseline_reads_as_none() {
    assert_eq!(serde_json::from_str::<Baseline>("{}").unwrap(), Baseline::default());
}
