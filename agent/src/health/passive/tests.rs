use std::num::NonZeroU16;

use std::net::SocketAddr;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::model::{
    AppProtocol, Container, Endpoint, EndpointAddresses, EndpointId, EndpointState, Frontend, Network, ServiceId,
    Weight,
};

fn flow(l4: L4) -> Flow {
    Flow {
        client: "172.17.0.9:40000".parse().unwrap(),
        frontend: Frontend { vip: [198, 19, 0, 7].into(), l4, port: NonZeroU16::new(80).unwrap() },
        endpoint: "172.17.0.3:8080".parse().unwrap(),
    }
}

fn destroyed(replied: bool, tcp: Option<TcpState>) -> FlowKind {
    FlowKind::Destroyed { replied, tcp, sent: None, received: None }
}

#[test]
fn only_an_unanswered_end_of_a_connection_is_a_failure() {
    let tcp = flow(L4::Tcp);
    let of = |kind, flow| failure(&FlowEvent { kind, flow });
    assert_eq!(of(destroyed(false, Some(TcpState::CLOSE)), tcp), Some(ConnectFailure::Refused));
    assert_eq!(of(destroyed(false, Some(TcpState::SYN_SENT)), tcp), Some(ConnectFailure::Unanswered));
    assert_eq!(of(destroyed(true, Some(TcpState::CLOSE)), tcp), None);
    assert_eq!(of(FlowKind::New, tcp), None);
    assert_eq!(of(destroyed(false, None), flow(L4::Udp)), None);
}

/// The task, and who tells it.
struct Task {
    flows: mpsc::Sender<FlowEvent>,
    ejections: watch::Receiver<Ejections>,
    catalog: watch::Sender<Option<Endpoints>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _dir: Option<tempfile::TempDir>,
}

impl Task {
    /// With these clients as containers.
    fn start(clients: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let task = Self::start_in(dir.path(), clients);
        Self { _dir: Some(dir), ..task }
    }

    /// The same, which remembers there.
    fn start_in(state_dir: &Path, clients: &[&str]) -> Self {
        let (flows, flows_in) = mpsc::channel(64);
        let (catalog_out, catalog) = watch::channel(None);
        let container = |address: &&str| {
            let id: crate::model::ContainerId = (*address).into();
            let network = Network::Bridge {
                address: address.parse::<IpAddr>().unwrap().into(),
                published: std::sync::Arc::default(),
            };
            let container = Container {
                id: id.clone(),
                name: id.clone(),
                image: "web".into(),
                labels: std::sync::Arc::default(),
                network,
                health: crate::model::DockerHealth::None,
                started_ms: 0,
                stopping: false,
                paused: false,
                addresses: Default::default(),
                baked: Default::default(),
                admitted: usize::MAX,
                bridges: Default::default(),
                own_dns: false,
                hosts: crate::model::HostsFile::None,
            };
            (id, std::sync::Arc::new(container))
        };
        let running = clients.iter().map(container).collect();
        let (_, containers) = watch::channel(Some(Containers { running, ..Containers::default() }));
        let (_, node) = watch::channel(None);
        let (out, ejections) = watch::channel(Ejections::new());
        let stop = CancellationToken::new();
        let inputs = PassiveInputs { flows: flows_in, catalog, containers, node, state_dir: state_dir.to_owned() };
        let task = tokio::spawn(run(inputs, out, |_| (), stop.clone()));
        Self { flows, ejections, catalog: catalog_out, stop, task, _dir: None }
    }

    /// Tells of a catalog with one endpoint there, of a container that started then.
    fn knows(&self, address: SocketAddr, started_ms: u64) {
        let endpoint = Endpoint {
            service: ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
            id: EndpointId::new("c", NonZeroU16::new(address.port()).unwrap(), L4::Tcp),
            addresses: EndpointAddresses::on_bridge(&address.to_string()),
            protocol: AppProtocol::Tcp,
            aliases: ["orders:80".parse().unwrap()].into_iter().collect(),
            weight: Weight::default(),
            node: "node".into(),
            zone: None,
            task: "task".into(),
            container: "c".into(),
            started_ms,
            state: EndpointState::Healthy,
            last_resort: false,
            reason: "running".into(),
        };
        self.catalog.send_replace(Some([(endpoint.key(), std::sync::Arc::new(endpoint))].into_iter().collect()));
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn fails(&self, client: &str, endpoint: SocketAddr) {
        let flow = Flow { client: SocketAddr::new(client.parse().unwrap(), 40000), endpoint, ..flow(L4::Tcp) };
        self.flows.send(FlowEvent { kind: destroyed(false, Some(TcpState::SYN_SENT)), flow }).await.unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_answers_us_is_ejected_by_two_containers_alone() {
    let _standstill = FrozenClock::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    let mut task = Task::start(&["172.17.0.5", "172.17.0.6"]);
    // Spoofed sources, and one that is a container's.
    for n in 0..25 {
        task.fails(&format!("10.9.8.{n}"), endpoint).await;
        task.fails("172.17.0.5", endpoint).await;
    }
    // It was looked into meanwhile.
    listener.accept().await.unwrap();
    assert!(task.ejections.borrow().is_empty());
    task.fails("172.17.0.6", endpoint).await;
    task.ejections.wait_for(|ejections| ejections.len() == 1).await.unwrap();
    assert!(task.ejections.borrow().values().all(|ejection| !ejection.proven));
}

#[tokio::test]
async fn one_failure_of_anybody_is_looked_into_and_proof_holds_until_the_endpoint_is_back() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = socket.local_addr().unwrap();
    let clock = FrozenClock::new();
    let mut task = Task::start(&[]);
    task.fails("10.9.8.7", endpoint).await;
    let step = Duration::from_millis(100);
    let seen = task.ejections.clone();
    clock.advance_until(step, "proof", || seen.borrow().values().any(|ejection| ejection.proven)).await;
    let _listener = socket.listen(8).unwrap();
    clock.advance_until(step, "its return", || seen.borrow().is_empty()).await;
    assert!(task.ejections.borrow_and_update().is_empty());
}

#[tokio::test]
async fn ejections_outlive_a_restart_where_the_endpoint_does() {
    let dir = tempfile::tempdir().unwrap();
    // Refuses; proof holds whatever the clock on the wall says meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = socket.local_addr().unwrap();
    let clock = FrozenClock::new();
    let task = Task::start_in(dir.path(), &[]);
    task.knows(endpoint, 7);
    task.fails("10.9.8.7", endpoint).await;
    let seen = task.ejections.clone();
    clock.advance_until(Duration::from_millis(100), "proof", || !seen.borrow().is_empty()).await;
    task.end().await;

    let mut again = Task::start_in(dir.path(), &[]);
    let recalled = again.ejections.wait_for(|ejections| ejections.len() == 1).await.unwrap().clone();
    assert!(recalled.keys().eq(seen.borrow().keys()), "before there is a catalog");
    assert!(recalled.values().map(|one| &one.reason).eq(seen.borrow().values().map(|one| &one.reason)));
    again.knows(endpoint, 7);
    clock.settle().await;
    assert_eq!(again.ejections.borrow().len(), 1, "it is the same one");
    again.end().await;

    let mut other = Task::start_in(dir.path(), &[]);
    other.ejections.wait_for(|ejections| ejections.len() == 1).await.unwrap();
    other.knows(endpoint, 8);
    other.ejections.wait_for(Ejections::is_empty).await.expect("its successor is somebody else");
    other.end().await;
    let none = Task::start_in(dir.path(), &[]);
    clock.settle().await;
    assert!(none.ejections.borrow().is_empty());
}
