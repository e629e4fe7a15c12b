//! The task from containers to endpoints.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::*;
use crate::model::{Container, DockerHealth, DualStack, Endpoint, EndpointState, HostsFile, Network};

const LONG: Duration = Duration::from_secs(60);

struct Bench {
    containers: watch::Sender<Option<Containers>>,
    node: watch::Sender<Option<Node>>,
    endpoints: watch::Receiver<Option<Endpoints>>,
    offered: watch::Receiver<Offered>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    dir: Arc<tempfile::TempDir>,
}

fn settings(state_dir: &std::path::Path) -> Arc<Settings> {
    let text = format!("version = 1\nmesh.namespace = \"prod\"\npaths.state_dir = {state_dir:?}");
    Arc::new(crate::config::parse(std::path::Path::new("meshdog.toml"), &text).unwrap())
}

fn node(address: [u8; 4]) -> Option<Node> {
    Some(Node { name: "n".into(), address: address.into(), zone: None, os_version: None, hosts: Arc::default() })
}

fn container(n: u8, labels: &[(&str, &str)]) -> Container {
    Container {
        id: format!("c{n}").into(),
        name: format!("web-{n}").into(),
        image: "web".into(),
        labels: Arc::new(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        network: Network::Bridge { address: DualStack::V4(Ipv4Addr::LOCALHOST), published: Arc::default() },
        hosts: HostsFile::None,
        health: DockerHealth::None,
        started_ms: 1,
        stopping: false,
        addresses: Arc::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        paused: false,
    }
}

impl Bench {
    fn new() -> Self {
        Self::start(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn start(dir: Arc<tempfile::TempDir>) -> Self {
        let (containers, containers_in) = watch::channel(None);
        let (node, node_in) = watch::channel(node([10, 0, 0, 1]));
        let (health, endpoints, offered) = Health::new(containers_in, settings(dir.path()), node_in);
        let stop = CancellationToken::new();
        let task = tokio::spawn(health.run(stop.clone()));
        Self { containers, node, endpoints, offered, task, stop, dir }
    }

    /// Stops the task and starts another, which knows of no container yet.
    async fn restart(self) -> Self {
        self.stop.cancel();
        timeout(LONG, self.task).await.unwrap().unwrap();
        Self::start(self.dir)
    }

    fn put(&self, container: Container) {
        self.containers.send_modify(|all| {
            all.get_or_insert_default().running.insert(container.id.clone(), Arc::new(container));
        });
    }

    fn remove(&self, n: u8) {
        self.containers.send_modify(|all| {
            all.as_mut().unwrap().running.remove(&*format!("c{n}"));
        });
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&[Endpoint]) -> bool) -> Vec<Endpoint> {
        let list = |all: &Endpoints| all.values().map(|e| (**e).clone()).collect::<Vec<_>>();
        let holds = |all: &Option<Endpoints>| all.as_ref().is_some_and(|all| wanted(&list(all)));
        let found = timeout(LONG, self.endpoints.wait_for(holds)).await.map(|all| list(all.unwrap().as_ref().unwrap()));
        found.unwrap_or_else(|_| panic!("{what}: {:?}", self.endpoints.borrow()))
    }

    async fn until_state(&mut self, state: EndpointState) -> Endpoint {
        self.until(state.as_str(), |all| matches!(all, [one] if one.state == state)).await.remove(0)
    }
}

const WEB: (&str, &str) = ("meshdog.web.port", "8080");

#[tokio::test]
async fn nothing_is_published_before_containers_and_node_are_known() {
    let mut bench = Bench::new();
    bench.node.send_replace(None);
    bench.containers.send_replace(Some(Containers::default()));
    tokio::task::yield_now().await;
    assert!(bench.endpoints.borrow().is_none());
    bench.node.send_replace(node([10, 0, 0, 1]));
    bench.until("an empty snapshot", <[Endpoint]>::is_empty).await;
}

#[tokio::test]
async fn a_container_without_a_check_lives_drains_and_ends() {
    let mut bench = Bench::new();
    bench.put(container(1, &[WEB]));
    let healthy = bench.until_state(EndpointState::Healthy).await;
    assert!(healthy.reason.contains("no health check"));
    bench.put(Container { stopping: true, ..container(1, &[WEB]) });
    assert!(bench.until_state(EndpointState::Draining).await.last_resort, "it still answers");
    bench.put(container(1, &[WEB]));
    bench.until_state(EndpointState::Healthy).await;
    bench.remove(1);
    bench.until("gone", <[Endpoint]>::is_empty).await;
    assert!(bench.offered.borrow().is_empty());
}

#[tokio::test]
async fn docker_health_takes_it_through_its_life() {
    let mut bench = Bench::new();
    let with = |health| Container { health, ..container(1, &[WEB]) };
    for (health, state) in [
        (DockerHealth::Starting, EndpointState::Starting),
        (DockerHealth::Healthy, EndpointState::Healthy),
        (DockerHealth::Unhealthy, EndpointState::Unhealthy),
        (DockerHealth::Healthy, EndpointState::Healthy),
    ] {
        bench.put(with(health));
        bench.until_state(state).await;
    }
    // Another life of the same container has never been healthy.
    bench.put(Container { started_ms: 2, ..with(DockerHealth::Unhealthy) });
    bench.until_state(EndpointState::Starting).await;
}

#[tokio::test]
async fn a_probe_takes_it_through_its_life() {
    // Bound, so that nobody else takes the port, and refusing until it listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let (port_text, mut bench) = (port.to_string(), Bench::new());
    let probed = container(1, &[("meshdog.web.port", &port_text), ("meshdog.web.health", "tcp")]);
    bench.put(probed.clone());
    let refused = bench.until("refused", |all| all.iter().any(|e| e.reason.contains("refused"))).await;
    assert_eq!(refused[0].state, EndpointState::Starting);
    let listener = socket.listen(8).unwrap();
    bench.until_state(EndpointState::Healthy).await;
    // A change that is none to the endpoint keeps what is known.
    bench.put(Container { health: DockerHealth::Unhealthy, ..probed.clone() });
    bench.put(Container { stopping: true, ..probed.clone() });
    bench.until_state(EndpointState::Draining).await;
    bench.put(probed.clone());
    bench.until_state(EndpointState::Healthy).await;
    drop(listener);
    // A new life starts over, and the last one's probes are over.
    bench.put(Container { started_ms: 2, ..probed });
    bench.until_state(EndpointState::Starting).await;
    bench.remove(1);
    bench.until("gone", <[Endpoint]>::is_empty).await;
}

#[tokio::test]
async fn labels_that_change_their_meaning_change_the_endpoints() {
    let mut bench = Bench::new();
    bench.put(container(1, &[WEB, ("meshdog.bad.port", "x")]));
    bench.until_state(EndpointState::Healthy).await;
    let faults = |bench: &Bench| bench.offered.borrow()["c1"].faults.len();
    assert_eq!(faults(&bench), 1);
    // Another namespace is another service.
    bench.put(container(1, &[WEB, ("meshdog.web.namespace", "test")]));
    bench.until("test/web", |all| matches!(all, [one] if one.service.to_string() == "test/web")).await;
    // Another address of the node, for what runs in the host's network.
    bench.put(Container { network: Network::Host { ports: [].into() }, ..container(1, &[WEB]) });
    bench.until("host", |all| matches!(all, [one] if one.addresses.first().to_string() == "10.0.0.1:8080")).await;
    bench.node.send_replace(node([10, 0, 0, 2]));
    bench.until("moved", |all| matches!(all, [one] if one.addresses.first().to_string() == "10.0.0.2:8080")).await;
    bench.put(container(1, &[]));
    bench.until("none", <[Endpoint]>::is_empty).await;
    assert!(bench.offered.borrow()["c1"].why_not.is_some());
}

#[tokio::test]
async fn the_node_may_be_said_once_and_for_all() {
    let Bench { containers, node, mut endpoints, task, .. } = Bench::new();
    drop(node);
    tokio::task::yield_now().await;
    containers.send_replace(Some(Containers::default()));
    timeout(LONG, endpoints.wait_for(Option::is_some)).await.unwrap().unwrap();
    drop(containers);
    timeout(LONG, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_change_leaves_the_others_alone() {
    let mut bench = Bench::new();
    for n in 0..200 {
        bench.put(container(n, &[WEB]));
    }
    bench.until("all", |all| all.len() == 200).await;
    let before = bench.endpoints.borrow().clone().unwrap();
    bench.put(Container { stopping: true, ..container(7, &[WEB]) });
    bench.until("draining", |all| all.iter().any(|e| e.state == EndpointState::Draining)).await;
    let after = bench.endpoints.borrow().clone().unwrap();
    let same = before.iter().zip(&after).filter(|((_, a), (_, b))| Arc::ptr_eq(a, b)).count();
    assert_eq!(same, 199);
}

/// A container with a probe, and the port that answers it.
fn answering() -> (Container, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (container(1, &[("meshdog.web.port", &port), ("meshdog.web.health", "tcp")]), listener)
}

#[tokio::test]
async fn what_was_healthy_and_still_runs_is_not_withdrawn_by_a_restart() {
    let (probed, listener) = answering();
    let mut bench = Bench::new();
    bench.put(probed.clone());
    bench.until_state(EndpointState::Healthy).await;
    drop(listener);
    let mut bench = bench.restart().await;
    bench.put(probed.clone());
    // The very first thing that is said of it.
    timeout(LONG, bench.endpoints.wait_for(Option::is_some)).await.unwrap().unwrap();
    let found = bench.until_state(EndpointState::Healthy).await;
    assert!(found.reason.contains("before the agent restarted"), "{}", found.reason);
    // What was only known from the last start is handed on to the next.
    let mut bench = bench.restart().await;
    bench.put(probed.clone());
    bench.until_state(EndpointState::Healthy).await;
    // Its successor has never been healthy.
    let mut bench = bench.restart().await;
    bench.put(Container { started_ms: 2, ..probed });
    let found = bench.until("its successor", |all| all.len() == 1).await;
    assert_eq!(found[0].state, EndpointState::Starting);
}

#[tokio::test]
async fn a_restart_of_dockerd_or_the_agent_is_no_news_of_a_docker_health_check() {
    let with = |health| Container { health, ..container(1, &[WEB]) };
    let mut bench = Bench::new();
    for health in [DockerHealth::Healthy, DockerHealth::Starting] {
        bench.put(with(health));
        bench.until_state(EndpointState::Healthy).await;
    }
    let mut bench = bench.restart().await;
    bench.put(with(DockerHealth::Starting));
    bench.until_state(EndpointState::Healthy).await;
    bench.put(with(DockerHealth::Unhealthy));
    bench.until_state(EndpointState::Unhealthy).await;
    bench.put(Container { started_ms: 2, ..with(DockerHealth::Starting) });
    bench.until_state(EndpointState::Starting).await;
}

#[tokio::test]
async fn endpoints_of_a_container_that_cannot_be_inspected_stand() {
    let unseen =
        || Some(Containers { unseen: [Arc::<str>::from("c1")].into_iter().collect(), ..Containers::default() });
    let mut bench = Bench::new();
    bench.put(container(1, &[WEB]));
    let before = bench.until_state(EndpointState::Healthy).await;
    for comes_back in [true, false] {
        bench = bench.restart().await;
        bench.containers.send_replace(unseen());
        let stands = bench.until_state(EndpointState::Healthy).await;
        assert!(stands.reason.contains("cannot be inspected"), "{}", stands.reason);
        assert_eq!(Endpoint { reason: before.reason.clone(), ..stands }, before);
        bench.containers.send_replace(Some(Containers::default()));
        if comes_back {
            bench.put(container(1, &[WEB]));
            bench.until("inspected", |all| matches!(all, [one] if *one == before)).await;
        } else {
            bench.until("dead", <[Endpoint]>::is_empty).await;
        }
    }
}

#[tokio::test]
async fn where_nothing_usable_is_saved_probes_decide() {
    let (probed, _listener) = answering();
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join(recall::FILE), "{\"version\":1}\n").unwrap();
    let mut bench = bench.restart().await;
    bench.put(probed);
    assert!(bench.until_state(EndpointState::Healthy).await.reason.contains("answers"));
}

#[tokio::test]
async fn a_restart_of_the_agent_in_the_middle_of_a_stop_does_not_forget_it() {
    let (probed, _listener) = answering();
    let mut bench = Bench::new();
    bench.put(probed.clone());
    bench.until_state(EndpointState::Healthy).await;
    bench.put(Container { stopping: true, ..probed.clone() });
    bench.until_state(EndpointState::Draining).await;
    let mut bench = bench.restart().await;
    // Docker does not say that it stops.
    bench.put(probed.clone());
    assert!(bench.until("it drains", |all| all.len() == 1).await[0].last_resort);
    // It has restarted.
    bench.put(Container { started_ms: 2, ..probed });
    bench.until_state(EndpointState::Healthy).await;
}
