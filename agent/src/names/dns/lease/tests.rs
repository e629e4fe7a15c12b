use std::sync::Mutex;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};

use tokio::time::{Instant, sleep};

use super::*;
use crate::model::{Clients, IfName, L4};

/// A resolver and a dataplane that do as told; renewals are remembered by the second they came at.
#[derive(Clone, Default)]
struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    udp_down: AtomicBool,
    tcp_down: AtomicBool,
    silent: AtomicBool,
    stuck: AtomicBool,
    /// Nothing comes from one of the bridges.
    closed: AtomicBool,
    looks: Mutex<u32>,
    renewals: Mutex<Vec<(Instant, Arc<[QueryPath]>)>>,
}

impl Probe for World {
    fn paths(&mut self) -> Option<Vec<QueryPath>> {
        let bridges = ["docker0", "br-1"].map(|name| Clients::Bridge(IfName::new(name).unwrap()));
        Some(
            bridges
                .into_iter()
                .flat_map(|from| [L4::Udp, L4::Tcp].map(|l4| QueryPath { from: from.clone(), l4 }))
                .collect(),
        )
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }

    async fn obstacle(&self, _: &QueryPath) -> Option<String> {
        *self.0.looks.lock().unwrap() += 1;
        Some("dropped by a test".to_owned())
    }

    async fn ask(&self, path: &QueryPath) -> io::Result<()> {
        if self.0.closed.load(Relaxed) && path.from == closed() {
            std::future::pending::<()>().await;
        }
        if self.0.silent.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        let down = if path.l4 == L4::Udp { &self.0.udp_down } else { &self.0.tcp_down };
        if down.load(Relaxed) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

impl Lease for World {
    type Error = io::Error;

    async fn renew(&mut self, paths: Arc<[QueryPath]>) -> io::Result<()> {
        if self.0.stuck.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.renewals.lock().unwrap().push((Instant::now(), paths));
        Ok(())
    }
}

impl World {
    fn start(&self) -> watch::Receiver<ResolverState> {
        let address = "127.0.0.1:53".parse().unwrap();
        let (state, seen) = watch::channel(ResolverState::Listening { address, paths: None });
        let world = self.clone();
        tokio::spawn(async move { keep(world.clone(), world, &state).await });
        seen
    }

    fn renewals(&self) -> usize {
        self.0.renewals.lock().unwrap().len()
    }

    /// By which paths queries were captured at the last renewal.
    fn renewed(&self) -> Vec<QueryPath> {
        self.0.renewals.lock().unwrap().last().map(|(_, paths)| paths.to_vec()).unwrap_or_default()
    }
}

fn closed() -> Clients {
    Clients::Bridge(IfName::new("br-1").unwrap())
}

fn leased(state: &watch::Receiver<ResolverState>) -> bool {
    state.borrow().is_answering()
}

#[tokio::test(start_paused = true)]
async fn renewed_at_once_and_well_within_five_seconds() {
    let world = World::default();
    let begin = Instant::now();
    let state = world.start();
    sleep(Duration::from_secs(60)).await;
    let renewals = world.0.renewals.lock().unwrap().clone();
    assert!(renewals[0].0 - begin < Duration::from_millis(10));
    assert!(renewals.windows(2).all(|pair| pair[1].0 - pair[0].0 < Duration::from_secs(5) / 3));
    assert!(renewals.len() > 40 && renewals.iter().all(|(_, paths)| paths.len() == 4));
    assert!(leased(&state));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_closed_costs_no_other_its_lease() {
    let world = World::default();
    world.0.closed.store(true, Relaxed);
    let state = world.start();
    sleep(Duration::from_secs(50)).await;
    let renewals = world.0.renewals.lock().unwrap().clone();
    assert!(renewals.windows(2).all(|pair| pair[1].0 - pair[0].0 < Duration::from_secs(4)), "{renewals:?}");
    assert!(renewals.iter().all(|(_, paths)| paths.len() == 2 && paths.iter().all(|path| path.from != closed())));
    assert_eq!(*world.0.looks.lock().unwrap(), 2, "what is in the way is not looked for each time");
    let (word, why) = (state.borrow().as_str(), state.borrow().why());
    assert_eq!(word, "answering in part");
    let why = why.unwrap();
    assert!(why.contains("br-1 (udp): dropped by a test") && !why.contains("docker0"), "{why}");
    assert!(state.borrow().answers(&IfName::new("docker0").unwrap()));
    assert!(!state.borrow().answers(&IfName::new("br-1").unwrap()));

    world.0.closed.store(false, Relaxed);
    sleep(Duration::from_secs(3)).await;
    assert!(leased(&state) && state.borrow().why().is_none());
}

#[tokio::test(start_paused = true)]
async fn never_renewed_while_the_resolver_does_not_answer() {
    type Fault = fn(&Inner) -> &AtomicBool;
    // One transport's lease is not the other's.
    let faults: [(Fault, Option<L4>); 3] = [
        (|inner| &inner.udp_down, Some(L4::Tcp)),
        (|inner| &inner.tcp_down, Some(L4::Udp)),
        (|inner| &inner.silent, None),
    ];
    for (fault, left) in faults {
        let world = World::default();
        fault(&world.0).store(true, Relaxed);
        let state = world.start();
        sleep(Duration::from_secs(30)).await;
        let only_left = || world.renewed().iter().all(|path| Some(path.l4) == left);
        assert!(only_left() && world.renewed().len() == left.map_or(0, |_| 2), "{:?}", world.renewed());
        assert!(!leased(&state));

        fault(&world.0).store(false, Relaxed);
        sleep(Duration::from_secs(3)).await;
        assert!(world.renewed().len() == 4 && leased(&state), "it answers again");

        fault(&world.0).store(true, Relaxed);
        sleep(Duration::from_secs(15)).await;
        let then = world.renewals();
        assert!(!leased(&state));
        sleep(Duration::from_secs(30)).await;
        assert!(if left.is_some() { only_left() } else { world.renewals() == then });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_dataplane_does_not_stop_the_turns() {
    let world = World::default();
    world.0.stuck.store(true, Relaxed);
    let state = world.start();
    sleep(Duration::from_secs(10)).await;
    assert!(!leased(&state));
    world.0.stuck.store(false, Relaxed);
    sleep(Duration::from_secs(3)).await;
    assert!(leased(&state));
}
