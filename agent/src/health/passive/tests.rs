use std::num::NonZeroU16;

use std::net::SocketAddr;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::model::{Container, Frontend, Network};

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
    _catalog: watch::Sender<Option<Endpoints>>,
}

impl Task {
    /// With these clients as containers.
    fn start(clients: &[&str]) -> Self {
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
        tokio::spawn(run(PassiveInputs { flows: flows_in, catalog, containers, node }, out, |_| ()));
        Self { flows, ejections, _catalog: catalog_out }
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
