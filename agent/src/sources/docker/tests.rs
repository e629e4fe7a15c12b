//! The task against a scripted dockerd on a Unix socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::model::{Container, ContainerId, DualStack, HostsFile, Network};

mod look;
mod past;

const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct World {
    containers: BTreeMap<String, Value>,
    subscribers: Vec<mpsc::UnboundedSender<String>>,
    /// Told to every new subscriber before anything else, and before the list: what raced with it.
    replay: Vec<String>,
    /// How many lists were made. Where there is a gate, one is handed out once that opens.
    lists: usize,
    list_gate: Option<Arc<Notify>>,
    list_hangs: bool,
    inspect_hangs: bool,
    silent: bool,
    /// Containers that do not run any more, as a list has them.
    ended: Vec<Value>,
    /// How often each container and each image was looked at.
    inspections: BTreeMap<String, usize>,
}

/// A dockerd that a test can start, stop and make lie.
struct Dockerd {
    world: Arc<Mutex<World>>,
    dir: TempDir,
    server: Option<JoinSet<()>>,
}

impl Dockerd {
    fn new() -> Self {
        Self { world: Arc::default(), dir: tempfile::tempdir().unwrap(), server: None }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn start(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        let world = self.world.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let world = world.clone();
                connections.spawn(async move {
                    let service = service_fn(|request| answer(world.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        self.server = Some(server);
    }

    fn stop(&mut self) {
        self.server = None;
        self.world().subscribers.clear();
        let _ = std::fs::remove_file(self.socket());
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn run(&self, n: u8) {
        self.world().containers.insert(name(n), inspection(n));
    }

    /// Containers that run, without an event.
    fn holding(self, ids: &[u8]) -> Self {
        ids.iter().for_each(|n| self.run(*n));
        self
    }

    fn event(&self, action: &str, n: u8, attributes: Value) {
        let line = event(action, n, attributes);
        self.world().subscribers.retain(|subscriber| subscriber.send(line.clone()).is_ok());
    }

    fn watch(&self) -> Watch {
        let (ecs, _) = Ecs::new("http://127.0.0.1:9".parse().unwrap()).unwrap();
        let metrics = DockerMetrics::default();
        let drift = metrics.drift.clone();
        let (docker, containers, source) = Docker::new(config(self.socket(), metrics), ecs);
        let mut task = JoinSet::new();
        task.spawn(docker.run());
        Watch { containers, source, drift, _task: task }
    }
}

fn config(socket: PathBuf, metrics: DockerMetrics) -> DockerConfig {
    DockerConfig { socket, image_labels: false, metrics }
}

struct Watch {
    containers: watch::Receiver<Option<Containers>>,
    source: watch::Receiver<Source>,
    drift: Counter,
    _task: JoinSet<()>,
}

impl Watch {
    async fn until(&mut self, what: &str, wanted: impl Fn(&Containers) -> bool) -> Containers {
        let wanted = |now: &Option<Containers>| now.as_ref().is_some_and(&wanted);
        let found = timeout(LONG, self.containers.wait_for(wanted)).await.map(|found| found.unwrap().clone().unwrap());
        found.unwrap_or_else(|_| panic!("{what}: {:?}", self.containers.borrow()))
    }

    async fn until_ids(&mut self, ids: &[u8]) -> Containers {
        let wanted: Vec<String> = ids.iter().map(|n| name(*n)).collect();
        self.until(&format!("{wanted:?}"), |now| {
            now.running.keys().map(|id| &**id).eq(wanted.iter().map(String::as_str))
        })
        .await
    }

    async fn until_source(&mut self, word: &str) -> SourceState {
        let found = timeout(LONG, self.source.wait_for(|source| source.state.as_str() == word)).await;
        found.unwrap().unwrap().state.clone()
    }
}

fn name(n: u8) -> String {
    format!("c{n}")
}

fn event(action: &str, n: u8, attributes: Value) -> String {
    json!({"Type": "container", "Action": action, "Actor": {"ID": name(n), "Attributes": attributes}}).to_string()
        + "\n"
}

fn inspection(n: u8) -> Value {
    json!({
        "Id": name(n), "Name": format!("/web-{n}"),
        "State": {"Running": true, "StartedAt": "2026-01-02T03:04:05Z"},
        "Config": {"Image": "web", "Labels": {}},
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n0", "EndpointID": format!("e{n}"), "IPAddress": format!("172.17.0.{n}")}}},
    })
}

/// What a list says of a container that is inspected so.
fn entry(inspection: &Value) -> Value {
    let state = if inspection["State"]["Paused"] == json!(true) { "paused" } else { "running" };
    json!({
        "Id": inspection["Id"], "Names": [inspection["Name"]], "Image": inspection["Config"]["Image"],
        "ImageID": inspection["Image"], "Labels": inspection["Config"]["Labels"], "State": state, "Created": 1,
        "Status": "Up 2 minutes", "HostConfig": {"NetworkMode": inspection["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {"Networks": inspection["NetworkSettings"]["Networks"]},
    })
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let path = path.split_once("/v1.44").map_or(path.as_str(), |(_, rest)| rest);
    if world.lock().unwrap().silent {
        std::future::pending::<()>().await;
    }
    let known = match path {
        p if p.ends_with("/version") => Some(json!({"ApiVersion": "1.44"})),
        p if p.ends_with("/_ping") => Some(json!("OK")),
        "/events" => {
            let (send, receive) = mpsc::unbounded_channel();
            let mut world = world.lock().unwrap();
            for line in std::mem::take(&mut world.replay) {
                send.send(line).unwrap();
            }
            world.subscribers.push(send);
            let lines = unfold(receive, |mut receive| async move {
                let line = receive.recv().await?;
                Some((Ok(Frame::data(Bytes::from(line))), receive))
            });
            return Ok(Response::new(BodyExt::boxed(StreamBody::new(Box::pin(lines) as BoxLines))));
        }
        "/containers/json" if request.uri().query().is_some_and(|query| query.contains("exited")) => {
            Some(json!(world.lock().unwrap().ended))
        }
        "/containers/json" => {
            let (list, gate, hangs) = {
                let mut world = world.lock().unwrap();
                world.lists += 1;
                (world.containers.values().map(entry).collect::<Vec<_>>(), world.list_gate.clone(), world.list_hangs)
            };
            if hangs {
                std::future::pending::<()>().await;
            }
            if let Some(gate) = gate {
                gate.notified().await;
            }
            Some(json!(list))
        }
        "/images/sha256:baked/json" => {
            *world.lock().unwrap().inspections.entry("sha256:baked".to_owned()).or_default() += 1;
            Some(json!({"Config": {"Labels": {"meshdog.orders.port": "80", "meshdog.own.port": "1", "other": "x"}}}))
        }
        "/info" => Some(json!({"DockerRootDir": "/var/lib/docker"})),
        "/networks" => {
            Some(json!([{"Id": "n0", "Driver": "bridge", "Options": {"com.docker.network.bridge.name": "docker0"}}]))
        }
        _ => {
            let id = path.trim_start_matches("/containers/").trim_end_matches("/json");
            let (found, hangs) = {
                let mut world = world.lock().unwrap();
                *world.inspections.entry(id.to_owned()).or_default() += 1;
                (world.containers.get(id).cloned(), world.inspect_hangs)
            };
            if hangs {
                std::future::pending::<()>().await;
            }
            found
        }
    };
    let (status, body) = known.map_or((404, json!({"message": "no such container"})), |body| (200, body));
    Ok(Response::builder().status(status).body(Full::from(body.to_string()).boxed()).unwrap())
}

type BoxLines = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync>>;

fn of(snapshot: &Containers, n: u8) -> &Container {
    &snapshot.running[&*name(n)]
}

#[tokio::test]
async fn a_list_then_events() {
    let mut dockerd = Dockerd::new().holding(&[1, 2]);
    dockerd.start();
    let mut watch = dockerd.watch();
    // The first snapshot is whole.
    let first = watch.until("the first", |_| true).await;
    assert_eq!(first.running.len(), 2);
    assert_eq!(first.bridges.len(), 1);
    assert_eq!(
        of(&first, 2).network,
        Network::Bridge { address: DualStack::V4([172, 17, 0, 2].into()), published: Arc::default() }
    );
    assert_eq!(watch.until_source("up").await, SourceState::Up);

    dockerd.run(3);
    dockerd.event("start", 3, json!({}));
    watch.until_ids(&[1, 2, 3]).await;

    dockerd.event("kill", 1, json!({"signal": "1"}));
    dockerd.event("kill", 3, json!({"signal": "15"}));
    let stopping = watch.until("stopping", |now| now.running.values().any(|c| c.stopping)).await;
    assert!(of(&stopping, 3).stopping && !of(&stopping, 1).stopping);

    dockerd.event("die", 3, json!({}));
    watch.until_ids(&[1, 2]).await;
    dockerd.event("health_status: healthy", 1, json!({}));
    watch.until("health", |now| of(now, 1).health == crate::model::DockerHealth::Healthy).await;
}

#[tokio::test]
async fn a_stop_waits_for_no_inspection() {
    let mut dockerd = Dockerd::new().holding(&[1]);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1]).await;
    dockerd.world().inspect_hangs = true;
    for n in 10..30 {
        dockerd.event("start", n, json!({}));
    }
    dockerd.event("rename", 1, json!({}));
    dockerd.event("kill", 1, json!({"signal": "15"}));
    watch.until("stopping", |now| of(now, 1).stopping).await;
}

#[tokio::test]
async fn events_that_race_with_the_list_are_not_lost() {
    let mut dockerd = Dockerd::new().holding(&[1, 2, 3]);
    let gate = Arc::new(Notify::new());
    dockerd.world().list_gate = Some(Arc::clone(&gate));
    // 1 dies and 3 begins to stop while the list, which holds both, is on its way; 4 starts too late to be in it.
    dockerd.world().replay =
        vec![event("die", 1, json!({})), event("kill", 3, json!({"signal": "9"})), event("start", 4, json!({}))];
    dockerd.start();
    let mut watch = dockerd.watch();
    let clock = FrozenClock::new();
    let under_way = || dockerd.world().lists == 1 && dockerd.world().replay.is_empty();
    clock.advance_until(Duration::ZERO, "list and events", under_way).await;
    dockerd.run(4);
    gate.notify_one();
    let snapshot = watch.until_ids(&[2, 3, 4]).await;
    assert!(of(&snapshot, 3).stopping);
}

#[tokio::test]
async fn dockerd_absent_then_there_then_restarted() {
    let mut dockerd = Dockerd::new().holding(&[1, 2]);
    let mut watch = dockerd.watch();
    let SourceState::Down(reason) = watch.until_source("down").await else { panic!() };
    assert!(reason.contains("docker.sock"), "{reason}");
    assert!(watch.containers.borrow().is_none());

    dockerd.start();
    watch.until_ids(&[1, 2]).await;
    watch.until_source("up").await;

    dockerd.stop();
    watch.until_source("down").await;
    // The mesh as it was.
    watch.until_ids(&[1, 2]).await;

    dockerd.world().containers.remove("c1");
    dockerd.run(3);
    dockerd.start();
    watch.until_ids(&[2, 3]).await;
    watch.until_source("up").await;
    // And events are followed again.
    dockerd.event("die", 2, json!({}));
    watch.until_ids(&[3]).await;
}

#[tokio::test]
async fn a_container_that_is_gone_when_it_is_inspected_is_gone() {
    let mut dockerd = Dockerd::new().holding(&[1]);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1]).await;
    dockerd.event("start", 9, json!({}));
    dockerd.world().containers.remove("c1");
    dockerd.event("rename", 1, json!({}));
    watch.until_ids(&[]).await;
}

#[tokio::test]
async fn labels_that_are_the_images_are_known_as_such() {
    let mut dockerd = Dockerd::new();
    let labels = json!({"meshdog.orders.port": "80", "meshdog.own.port": "2", "meshdog.new.port": "3", "other": "x"});
    for (n, image) in [(1, "sha256:baked"), (2, "sha256:gone")] {
        let mut inspected = inspection(n);
        inspected["Image"] = json!(image);
        inspected["Config"]["Labels"] = labels.clone();
        dockerd.world().containers.insert(name(n), inspected);
    }
    dockerd.start();
    let seen = dockerd.watch().until_ids(&[1, 2]).await;
    assert!(of(&seen, 1).baked.iter().eq(["meshdog.orders.port"]), "another value is the deployer's: {seen:?}");
    assert!(of(&seen, 2).baked.is_empty() && of(&seen, 2).labels.len() == 4, "an image that is gone says nothing");
}

#[tokio::test]
async fn a_joined_network_is_the_others() {
    let mut dockerd = Dockerd::new().holding(&[1, 2, 3]);
    let join = |n: u8, other: &str| {
        let mode = format!("container:{other}");
        dockerd.world().containers.get_mut(&name(n)).unwrap()["HostConfig"]["NetworkMode"] = json!(mode);
    };
    join(2, "c1");
    join(3, "c2");
    dockerd.start();
    let snapshot = dockerd.watch().until_ids(&[1, 2, 3]).await;
    assert_eq!(of(&snapshot, 2).network, of(&snapshot, 1).network);
    assert!(matches!(&of(&snapshot, 3).network, Network::Unsupported(why) if why.contains("c2")));
}

#[tokio::test]
async fn an_event_with_twenty_thousand_labels_costs_no_more_than_its_bytes() {
    let mut dockerd = Dockerd::new().holding(&[1, 2]);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1, 2]).await;
    let mut labels: serde_json::Map<String, Value> =
        (0..20_000).map(|i| (format!("meshdog.service-{i}.port"), json!("8080"))).collect();
    labels.insert("signal".into(), json!("15"));
    dockerd.event("kill", 1, labels.into());
    dockerd.event("kill", 2, json!({"signal": "15"}));
    watch.until("both stop", |now| now.running.values().all(|c| c.stopping)).await;
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection() {
    let mut dockerd = Dockerd::new().holding(&[1]);
    dockerd.start();
    let mut watch = dockerd.watch();
    let clock = FrozenClock::new();
    watch.until_source("up").await;
    for subscriber in &dockerd.world().subscribers {
        for _ in 0..17 {
            subscriber.send("x".repeat(1 << 20)).unwrap();
        }
    }
    let SourceState::Down(reason) = watch.until_source("down").await else { panic!() };
    assert!(reason.contains("longer than"), "{reason}");
    let again = || watch.source.borrow().state == SourceState::Up;
    clock.advance_until(Duration::from_millis(100), "up again", again).await;
}

#[tokio::test(start_paused = true)]
async fn a_dockerd_that_hangs_is_noticed() {
    let (ecs, _) = Ecs::new("http://127.0.0.1:9".parse().unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Accepts, and never answers.
    let _listener = UnixListener::bind(Path::new(dir.path()).join("docker.sock")).unwrap();
    let config = config(dir.path().join("docker.sock"), DockerMetrics::default());
    let (docker, _containers, mut source) = Docker::new(config, ecs);
    tokio::spawn(docker.run());
    let down = source.wait_for(|source| source.state.as_str() == "down").await.unwrap().state.clone();
    assert!(matches!(&down, SourceState::Down(reason) if reason.contains("did not answer")), "{down:?}");
}

#[tokio::test]
async fn a_dockerd_that_falls_silent_is_noticed_by_its_ping() {
    let mut dockerd = Dockerd::new().holding(&[1]);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_source("up").await;
    watch.until_ids(&[1]).await;
    dockerd.world().silent = true;
    tokio::time::pause();
    let SourceState::Down(reason) = watch.source.wait_for(|s| s.state.as_str() == "down").await.unwrap().state.clone()
    else {
        panic!()
    };
    assert!(reason.contains("ping"), "{reason}");
    assert_eq!(watch.containers.borrow().as_ref().unwrap().running.len(), 1);
}

#[tokio::test]
async fn containers_that_share_a_network_share_a_hosts_file() {
    let mut dockerd = Dockerd::new();
    let owner: ContainerId = "a1".repeat(32).into();
    let path = format!("/var/lib/docker/containers/{owner}/hosts");
    let mut owning = inspection(1);
    (owning["Id"], owning["HostsPath"]) = (json!(&*owner), json!(path));
    let mut joining = inspection(2);
    (joining["HostConfig"]["NetworkMode"], joining["HostsPath"]) = (json!(format!("container:{owner}")), json!(path));
    dockerd.world().containers.extend([(owner.to_string(), owning), (name(2), joining)]);
    dockerd.start();
    let own = HostsFile::Docker(owner.clone());
    let shared = |now: &Containers| now.running.len() == 2 && now.running.values().all(|c| c.hosts == own);
    let snapshot = dockerd.watch().until("one file", shared).await;
    assert_eq!(snapshot.root.as_deref(), Some(Path::new("/var/lib/docker")));
    assert_eq!(&*root(&dockerd.socket()).await.unwrap(), Path::new("/var/lib/docker"));
}
