use std::path::Path;

use super::*;
use crate::dataplane::memory::{Memory, Store, bridge};
use crate::model::{Frontend, L4, VipRanges};

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_a_second_and_begin_anew_after_a_calm() {
    let mut trouble = Trouble::new();
    let pauses: Vec<_> = (0..12).map(|_| trouble.pause().as_millis()).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]);
    tokio::time::advance(CALM / 2).await;
    assert_eq!(trouble.pause(), Duration::from_secs(1));
    tokio::time::advance(CALM + Duration::from_millis(5)).await;
    assert_eq!(trouble.pause(), Duration::from_millis(5));
}

fn ruleset(services: u32) -> Arc<Ruleset> {
    let frontend = |n| Frontend { vip: VipRanges::default().v4().nth(n), l4: L4::Tcp, port: 80.try_into().unwrap() };
    let slots: crate::model::Slots = ["10.0.0.1:80".parse().unwrap()].into();
    Arc::new(Ruleset { frontends: (0..services).map(|n| (frontend(n), slots.clone())).collect(), ..Ruleset::default() })
}

/// An owner of memory, as a task.
struct Owned {
    store: Store,
    rulesets: watch::Sender<Option<Rulesets>>,
    leases: mpsc::Sender<LeaseRequest>,
    state: watch::Receiver<DataplaneState>,
    task: tokio::task::JoinHandle<Ended>,
}

impl Owned {
    fn start(store: &Store) -> Self {
        let (rulesets, rulesets_in) = watch::channel(None);
        let (leases, leases_in) = mpsc::channel(1);
        let (state, state_out) = watch::channel(DataplaneState::default());
        let inputs = Inputs { rulesets: rulesets_in, leases: leases_in };
        let (bridges, cleaner) = (watch::Sender::new(OrdSet::new()), Cleaner::idle());
        let outputs = Outputs { state, bridges, cleaner, metrics: Metrics::default() };
        let netns = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
        let owner = Owner::start(Memory::open(store), (netns, View::Node), true, inputs, outputs).unwrap();
        Self { store: store.clone(), rulesets, leases, state: state_out, task: tokio::spawn(owner.run()) }
    }

    fn want(&self, ruleset: &Arc<Ruleset>) {
        self.rulesets.send_replace(Some([(View::Node, Arc::clone(ruleset))].into()));
    }

    async fn until(&mut self, is: impl Fn(&NamespaceState) -> bool) -> NamespaceState {
        let is = |all: &DataplaneState| all.namespaces.values().any(&is);
        let state = self.state.wait_for(is).await.unwrap();
        state.namespaces.values().next().unwrap().clone()
    }

    /// Renews the leases of clients on the bridge, or ends all.
    async fn lease(&self, lease: Option<Duration>) -> Result<(), Error> {
        let paths = || [L4::Udp, L4::Tcp].map(|l4| QueryPath { from: bridge(), l4 }).into();
        let change = lease.map_or(LeaseChange::End, |lease| LeaseChange::Renew(paths(), lease));
        let (answer, answered) = oneshot::channel();
        self.leases.send(LeaseRequest { change, answer }).await.unwrap();
        answered.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_ruleset_is_written_whole_and_the_next_as_a_change() {
    let mut owned = Owned::start(&Store::default());
    for services in [3, 4] {
        let wanted = ruleset(services);
        owned.want(&wanted);
        let held = |state: &NamespaceState| state.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, &wanted));
        owned.until(|state| state.in_sync && held(state)).await;
        assert_eq!(owned.store.ruleset().as_ref(), Some(&*wanted));
    }
    let state = owned.until(|_| true).await;
    assert_eq!((state.applies, state.failures, state.repairs), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_former_agent_left_stands_until_there_is_something_else_to_do() {
    let store = Store::default();
    let mut first = Owned::start(&store);
    first.want(&ruleset(3));
    first.until(|state| state.in_sync).await;
    drop(first.leases);
    assert_eq!(first.task.await.unwrap(), Ended::Stopped);

    let mut next = Owned::start(&store);
    let adopted = next.until(|state| state.applied.is_some()).await;
    assert!(!adopted.in_sync, "nothing is wanted yet");
    next.want(&ruleset(3));
    assert_eq!(next.until(|state| state.in_sync).await.applies, 0, "there is nothing to do");
}

/// As where the part that makes rulesets has panicked.
#[tokio::test(start_paused = true)]
async fn the_lease_can_be_ended_where_no_ruleset_comes_any_more() {
    let mut owned = Owned::start(&Store::default());
    owned.want(&ruleset(1));
    owned.until(|state| state.in_sync).await;
    owned.lease(Some(Duration::from_secs(5))).await.unwrap();
    owned.rulesets = watch::channel(None).0;
    tokio::time::sleep(Duration::from_secs(1)).await;
    owned.lease(None).await.unwrap();
    assert_eq!(owned.store.ruleset().as_ref(), Some(&*ruleset(1)), "what is held stays");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_is_followed_by_the_whole() {
    let mut owned = Owned::start(&Store::default());
    owned.want(&ruleset(1));
    owned.until(|state| state.in_sync).await;
    owned.store.vanish();
    owned.want(&ruleset(2));
    let state = owned.until(|state| state.in_sync && state.applies == 2).await;
    assert_eq!((state.failures, owned.store.ruleset().as_ref()), (1, Some(&*ruleset(2))));
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_written_anew_each_time_a_little_later() {
    let mut owned = Owned::start(&Store::default());
    owned.want(&ruleset(1));
    owned.until(|state| state.in_sync).await;
    let mut pauses = Vec::new();
    for repairs in 1..=3 {
        let begun = Instant::now();
        if repairs == 2 {
            owned.store.tamper()
        } else {
            owned.store.flush()
        }
        owned.until(|state| state.repairs == repairs && state.in_sync).await;
        assert_eq!(owned.store.ruleset().as_ref(), Some(&*ruleset(1)));
        pauses.push(begun.elapsed().as_millis());
    }
    assert!(pauses.is_sorted() && pauses[2] >= 4 * pauses[0] && pauses[0] >= 5, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_gone_without_a_word_is_missed_by_the_audit() {
    let mut owned = Owned::start(&Store::default());
    owned.want(&ruleset(1));
    owned.until(|state| state.in_sync).await;
    owned.store.vanish();
    owned.until(|state| state.repairs == 1 && state.in_sync).await;
    assert_eq!(owned.store.ruleset().as_ref(), Some(&*ruleset(1)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_comes_with_a_table_and_a_refused_one_is_told() {
    let mut owned = Owned::start(&Store::default());
    owned.lease(Some(Duration::from_secs(5))).await.unwrap();
    owned.want(&ruleset(1));
    owned.until(|state| state.in_sync).await;
    owned.lease(None).await.unwrap();
    owned.store.vanish();
    assert!(owned.lease(Some(Duration::from_secs(5))).await.is_err());
    owned.until(|state| state.failures == 1 && state.in_sync).await;
    owned.lease(Some(Duration::from_secs(5))).await.unwrap();
}
