use std::sync::Mutex;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};

use tokio::time::{Instant, sleep};

use super::*;

/// A resolver and a dataplane that do as told; renewals are remembered by the second they came at.
#[derive(Clone, Default)]
struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    udp_down: AtomicBool,
    tcp_down: AtomicBool,
    silent: AtomicBool,
    stuck: AtomicBool,
    asked_tcp: Mutex<u32>,
    renewals: Mutex<Vec<Instant>>,
}

impl Probe for World {
    async fn ask(&self, transport: Transport) -> io::Result<()> {
        if self.0.silent.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        let down = match transport {
            Transport::Udp => &self.0.udp_down,
            Transport::Tcp => {
                *self.0.asked_tcp.lock().unwrap() += 1;
                &self.0.tcp_down
            }
        };
        if down.load(Relaxed) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

impl Lease for World {
    type Error = io::Error;

    async fn renew(&mut self) -> io::Result<()> {
        if self.0.stuck.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.renewals.lock().unwrap().push(Instant::now());
        Ok(())
    }
}

impl World {
    fn start(&self) -> watch::Receiver<ResolverState> {
        let address = "127.0.0.1:53".parse().unwrap();
        let (state, seen) = watch::channel(ResolverState::Listening { address, leased: false });
        let world = self.clone();
        tokio::spawn(async move { keep(world.clone(), world, &state).await });
        seen
    }

    fn renewals(&self) -> usize {
        self.0.renewals.lock().unwrap().len()
    }
}

fn leased(state: &watch::Receiver<ResolverState>) -> bool {
    matches!(&*state.borrow(), ResolverState::Listening { leased: true, .. })
}

#[tokio::test(start_paused = true)]
async fn renewed_at_once_and_well_within_five_seconds() {
    let world = World::default();
    let begin = Instant::now();
    let state = world.start();
    sleep(Duration::from_secs(60)).await;
    let renewals = world.0.renewals.lock().unwrap().clone();
    assert!(renewals[0] - begin < Duration::from_millis(10));
    assert!(renewals.windows(2).all(|pair| pair[1] - pair[0] < Duration::from_secs(5) / 3));
    assert!(renewals.len() > 40);
    assert!(leased(&state));
    let tcp = *world.0.asked_tcp.lock().unwrap();
    assert!((4..=10).contains(&tcp), "TCP was asked {tcp} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn never_renewed_while_the_resolver_does_not_answer() {
    type Fault = fn(&Inner) -> &AtomicBool;
    let faults: [Fault; 3] = [|inner| &inner.udp_down, |inner| &inner.tcp_down, |inner| &inner.silent];
    for fault in faults {
        let world = World::default();
        fault(&world.0).store(true, Relaxed);
        let state = world.start();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.renewals(), 0);
        assert!(!leased(&state));

        fault(&world.0).store(false, Relaxed);
        sleep(Duration::from_secs(3)).await;
        assert!(world.renewals() > 0 && leased(&state), "it answers again");

        fault(&world.0).store(true, Relaxed);
        sleep(Duration::from_secs(15)).await;
        let then = world.renewals();
        assert!(!leased(&state));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.renewals(), then);
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
