//! The task over real files, on a clock that only the test moves.

use std::fs;
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::model::{DockerHealth, DualStack, Network};
use block::tests::names;

const OWN: &str = "127.0.0.1\tlocalhost\n";

struct Bench {
    root: TempDir,
    names: watch::Sender<Option<Served>>,
    containers: watch::Sender<Option<Containers>>,
    docker: watch::Sender<Source>,
    state: watch::Receiver<HostsState>,
    metrics: HostsMetrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn id(n: u8) -> ContainerId {
    format!("{n:02x}").repeat(32).into()
}

fn container(n: u8, labels: &[(&str, &str)]) -> Container {
    Container {
        id: id(n),
        name: format!("web-{n}").into(),
        image: "web".into(),
        labels: Arc::new(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        network: Network::Bridge { address: DualStack::V4([172, 17, 0, n].into()), published: Arc::default() },
        hosts: HostsFile::Docker(id(n)),
        health: DockerHealth::None,
        started_ms: 1,
        stopping: false,
        paused: false,
        addresses: Default::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
    }
}

impl Bench {
    fn new(enabled: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let metrics = HostsMetrics::default();
        let config = HostsConfig {
            enabled,
            root: Auto::Set(root.path().to_owned()),
            namespace: "prod".parse().unwrap(),
            metrics: metrics.clone(),
        };
        let (names, names_in) = watch::channel(None);
        let (containers, containers_in) = watch::channel(None);
        let (docker, docker_in) = watch::channel(Source { state: SourceState::Up, since: SystemTime::UNIX_EPOCH });
        let (state_out, state) = watch::channel(HostsState::default());
        let inputs = HostsInputs { served: names_in, containers: containers_in, docker: docker_in };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(config, inputs, state_out, stop.clone()));
        Self { root, names, containers, docker, state, metrics, stop, task }
    }

    fn file(&self, n: u8) -> PathBuf {
        self.root.path().join("containers").join(&*id(n)).join("hosts")
    }

    fn text(&self, n: u8) -> String {
        fs::read_to_string(self.file(n)).unwrap()
    }

    /// A container and its file, as after its start.
    fn start(&self, container: Container) {
        let HostsFile::Docker(owner) = &container.hosts else { panic!() };
        let directory = self.root.path().join("containers").join(&**owner);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("hosts"), OWN).unwrap();
        self.put(container);
    }

    fn put(&self, container: Container) {
        self.containers.send_modify(|all| {
            all.get_or_insert_default().running.insert(container.id.clone(), Arc::new(container));
        });
    }

    fn serve(&self, told: &[(&str, u8)]) {
        self.names.send_replace(Some(Served { names: names(told), ..Served::default() }));
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&HostsState) -> bool) {
        let found = timeout(Duration::from_secs(60), self.state.wait_for(|state| wanted(state))).await.map(drop);
        assert!(found.is_ok(), "{what}: {:?}", self.state.borrow());
    }

    async fn until_tells(&mut self, n: u8, names: usize) {
        let told = FileState::Told { names, own: 0, of: None };
        self.until(&format!("{n} tells {names}"), |state| state.files.get(&id(n)) == Some(&told)).await;
    }
}

#[tokio::test]
async fn containers_older_than_a_service_are_told_its_name() {
    let mut bench = Bench::new(true);
    bench.start(container(1, &[]));
    bench.start(container(2, &[("meshdog.dns", "maybe")]));
    bench.serve(&[("orders", 7)]);
    bench.until_tells(1, 1).await;
    bench.until_tells(2, 1).await;
    bench.serve(&[("orders", 7), ("pay", 8)]);
    bench.until_tells(1, 2).await;
    assert!(bench.text(1).starts_with(OWN) && bench.text(1).contains("198.19.0.8 pay\n"));
    assert_eq!(bench.state.borrow().written(), 2);
    bench.containers.send_modify(|all| drop(all.as_mut().unwrap().running.remove(&id(2))));
    bench.until("forgotten", |state| state.files.len() == 1).await;
    bench.stop.cancel();
    bench.task.await.unwrap();
    assert!(bench_text_contains(bench.root.path(), 1), "the names stay");
}

fn bench_text_contains(root: &Path, n: u8) -> bool {
    fs::read_to_string(root.join("containers").join(&*id(n)).join("hosts")).unwrap().contains("pay")
}

#[tokio::test]
async fn no_file_is_touched_before_the_names_are_known() {
    let mut bench = Bench::new(true);
    let before = OWN.to_owned() + "# meshdog: end\n";
    bench.start(container(1, &[]));
    fs::write(bench.file(1), &before).unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.text(1), before);
    bench.serve(&[]);
    bench.until_tells(1, 0).await;
    assert_eq!((bench.text(1).as_str(), bench.state.borrow().written()), (OWN, 0));
}

#[tokio::test]
async fn a_file_that_docker_began_anew_is_written_again() {
    let mut bench = Bench::new(true);
    bench.serve(&[("orders", 7)]);
    bench.start(container(1, &[]));
    bench.until_tells(1, 1).await;
    // A restart shows in the container; nothing else does until dockerd is back, or a minute is over.
    for restarted in [true, false] {
        fs::write(bench.file(1), OWN).unwrap();
        match restarted {
            true => bench.put(Container { started_ms: 2, ..container(1, &[]) }),
            false => bench.docker.send_modify(|_| ()),
        }
        let told = || bench.text(1).contains("orders");
        let waited = timeout(Duration::from_secs(60), async {
            while !told() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "restarted: {restarted}");
    }
    let clock = FrozenClock::new();
    fs::write(bench.file(1), OWN).unwrap();
    clock.advance_until(LOOK_EVERY, "told again", || bench.text(1).contains("orders")).await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    let mut bench = Bench::new(true);
    bench.serve(&[("orders", 7)]);
    bench.start(container(1, &[]));
    bench.until_tells(1, 1).await;
    let joins = |n, labels: &[(&str, &str)]| Container { hosts: HostsFile::Docker(id(1)), ..container(n, labels) };
    bench.put(joins(2, &[("meshdog.dns", "false")]));
    let alone = |state: &HostsState| matches!(state.files.get(&id(1)), Some(FileState::LeftAlone(why)) if why.contains("meshdog.dns"));
    bench.until("left alone", alone).await;
    assert_eq!(bench.text(1), OWN);
    assert!(bench.state.borrow().explain(&joins(2, &[])).contains("whose network it shares"));
    bench.containers.send_modify(|all| drop(all.as_mut().unwrap().running.remove(&id(2))));
    bench.until_tells(1, 1).await;
    bench.put(Container { hosts: HostsFile::Users, ..container(1, &[]) });
    bench.until("the user's", |state| state.files.is_empty()).await;
    assert!(
        bench.state.borrow().explain(&Container { hosts: HostsFile::Users, ..container(1, &[]) }).contains("yours")
    );
}

#[tokio::test]
async fn where_it_is_off_what_is_left_is_taken_out() {
    let mut bench = Bench::new(false);
    bench.start(container(1, &[]));
    bench.until("left alone", |state| matches!(state.files.get(&id(1)), Some(FileState::LeftAlone(_)))).await;
    fs::write(bench.file(1), format!("{OWN}{}\n198.19.0.7 orders\n{}\n", block::BEGIN, block::END)).unwrap();
    bench.docker.send_modify(|_| ());
    let clock = FrozenClock::new();
    clock.advance_until(Duration::from_millis(1), "taken out", || bench.text(1) == OWN).await;
}

#[tokio::test]
async fn a_file_that_fails_is_tried_again() {
    let mut bench = Bench::new(true);
    bench.serve(&[("orders", 7)]);
    bench.put(container(1, &[]));
    bench.start(container(2, &[]));
    bench.until_tells(2, 1).await;
    bench.until("failing", |state| matches!(state.files.get(&id(1)), Some(FileState::Failing(_)))).await;
    assert!(bench.metrics.failures.get() >= 1);
    let clock = FrozenClock::new();
    fs::create_dir_all(bench.file(1).parent().unwrap()).unwrap();
    fs::write(bench.file(1), OWN).unwrap();
    clock.advance_until(Duration::from_millis(500), "written", || bench.text(1).contains("orders")).await;
}
