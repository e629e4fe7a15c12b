//! What every backend does, as tests that run over each of them: over memory here, over the kernel in `kernel_tests`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::LEASE;
use super::backend::{Backend, Found, Lease};
use super::memory::{Client, Fate, Memory, Store, bridge};
use super::plan::Plan;
use crate::model::{Clients, Frontend, IfName, L4, MAX_CAPTURED, QueryPath, RESOLVER_PORT, Ruleset, Slots, VipRanges};

/// A lease that outlasts every test, however slow the machine is.
const LONG: Duration = Duration::from_secs(600);

/// A place where a backend can be tried: endpoints that answer at any port of [`served`] addresses, a name server
/// outside, and clients.
pub(super) trait Place {
    type Backend: Backend;

    /// A place of its own.
    fn new() -> Self;
    /// A backend for it: each is another agent's.
    fn open(&self) -> Self::Backend;
    /// Runs within the runtime that the backend needs.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    /// Where a connection ends.
    fn dial(&self, client: Client, to: Frontend) -> Fate;
    /// Somebody else throws away all that the backend holds.
    fn flush(&self);
    /// Somebody else changes a little of it.
    fn tamper(&self);
}

/// For so long, of everybody's queries.
pub(super) fn leases(lasting: Duration) -> Vec<Lease> {
    paths().iter().map(|path| (path.clone(), lasting)).collect()
}

/// The ways that containers' and the host's queries take.
pub(super) fn paths() -> Arc<[QueryPath]> {
    let of = |from: Clients| [L4::Udp, L4::Tcp].map(|l4| QueryPath { from: from.clone(), l4 });
    [bridge(), Clients::Host].into_iter().flat_map(of).collect()
}

pub(super) fn ranges() -> VipRanges {
    VipRanges::default()
}

/// Addresses at which the tests' endpoints answer, of either family.
pub(super) fn served(v6: bool, n: u8) -> SocketAddr {
    let ip: IpAddr = if v6 { [0xfd00, 0x80, 0, 0, 0, 0, 0, n.into()].into() } else { [10, 80, 0, n].into() };
    SocketAddr::new(ip, 8080)
}

/// The resolver's port for what containers ask of the name server outside: not the first, so that it counts.
pub(super) const CONTAINERS_PORT: u16 = RESOLVER_PORT + 1;
/// The same for the host's own queries.
pub(super) const HOST_PORT: u16 = RESOLVER_PORT + MAX_CAPTURED;

/// The name server outside.
pub(super) fn outside(v6: bool) -> IpAddr {
    if v6 { [0xfd00, 9, 0, 0, 0, 0, 0, 2].into() } else { [10, 9, 0, 2].into() }
}

fn frontend(v6: bool, n: u32, l4: L4, port: u16) -> Frontend {
    let ranges = ranges();
    let range = if v6 { ranges.iter().last().unwrap() } else { ranges.v4() };
    Frontend { vip: range.nth(n), l4, port: port.try_into().unwrap() }
}

fn slots(v6: bool, endpoints: impl IntoIterator<Item = u8>) -> Slots {
    endpoints.into_iter().map(|n| served(v6, n)).collect()
}

/// Services of both families, the bridge of the tests' node, a name server of the host's own.
fn sample() -> Ruleset {
    let services = [(1, L4::Tcp, 1..=3), (2, L4::Udp, 1..=1), (3, L4::Tcp, 1..=100)];
    let both = [false, true]
        .into_iter()
        .flat_map(|v6| services.clone().map(|(n, l4, endpoints)| (frontend(v6, n, l4, 80), slots(v6, endpoints))));
    Ruleset {
        frontends: both.collect(),
        locals: [IpAddr::from([172, 30, 0, 10]), "fd00:30::10".parse().unwrap()].into_iter().collect(),
        bridges: IfName::new("br0").into_iter().collect(),
        resolvers: [false, true].map(|v6| (outside(v6), CONTAINERS_PORT)).into_iter().collect(),
        host_resolvers: [false, true].map(|v6| (outside(v6), HOST_PORT)).into_iter().collect(),
        uncaptured: [IpAddr::from([172, 30, 0, 11]), "fd00:30::11".parse().unwrap()].into_iter().collect(),
        ..Ruleset::default()
    }
}

/// Another one: changed, gone, new.
fn other() -> Ruleset {
    let mut other = sample();
    for v6 in [false, true] {
        other.frontends.insert(frontend(v6, 1, L4::Tcp, 80), slots(v6, 2..=71));
        other.frontends.remove(&frontend(v6, 3, L4::Tcp, 80));
        other.frontends.insert(frontend(v6, 4, L4::Tcp, 443), slots(v6, [9]));
    }
    other.bridges = ["br0", "br1"].into_iter().filter_map(IfName::new).collect();
    other.resolvers = [(outside(false), RESOLVER_PORT)].into_iter().collect();
    other.host_resolvers = Default::default();
    other.uncaptured = Default::default();
    other
}

fn adopted(backend: &mut impl Backend) -> Ruleset {
    match backend.adopt().unwrap() {
        Found::Ours(ruleset) => ruleset,
        found => panic!("{found}"),
    }
}

/// Waits until a foreign change is told.
async fn told(backend: &mut impl Backend) {
    let change = tokio::time::timeout(Duration::from_secs(60), backend.foreign_change()).await;
    change.expect("nobody told of the change").unwrap();
}

/// The endpoints that so many dials reach; none may be refused.
fn reached<P: Place>(place: &P, client: Client, to: Frontend, times: usize) -> BTreeSet<SocketAddr> {
    let fate = |_| match place.dial(client, to) {
        Fate::Reaches(address) => address,
        Fate::IsRefused => panic!("{client:?} was refused at {to:?}"),
    };
    (0..times).map(fate).collect()
}

pub(super) fn what_is_installed_is_adopted_by_the_next_agent<P: Place>() {
    let place = P::new();
    place.block_on(async {
        let mut backend = place.open();
        assert!(matches!(backend.adopt().unwrap(), Found::Nothing));
        assert!(!backend.audit().unwrap());
        for ruleset in [sample(), other(), Ruleset::default()] {
            backend.install(&ruleset, &leases(LEASE)).unwrap();
            assert!(backend.audit().unwrap());
            assert_eq!(adopted(&mut place.open()), ruleset);
        }
    });
}

pub(super) fn a_plan_leads_from_one_ruleset_to_another<P: Place>() {
    let place = P::new();
    place.block_on(async {
        let mut backend = place.open();
        backend.install(&sample(), &[]).unwrap();
        for (from, to) in [(sample(), other()), (other(), Ruleset::default()), (Ruleset::default(), sample())] {
            backend.apply(&Plan::new(&to, &from)).unwrap();
            assert_eq!(adopted(&mut backend), to);
        }
        backend.apply(&Plan::default()).unwrap();
    });
}

pub(super) fn a_plan_that_begins_elsewhere_is_refused_as_a_whole<P: Place>() {
    let place = P::new();
    place.block_on(async {
        let mut backend = place.open();
        backend.install(&sample(), &[]).unwrap();
        for (to, believed) in [(other(), Ruleset::default()), (Ruleset::default(), other())] {
            backend.apply(&Plan::new(&to, &believed)).unwrap_err();
            assert_eq!(adopted(&mut backend), sample());
        }
    });
}

pub(super) fn connections_reach_every_endpoint_of_their_service_and_no_other<P: Place>() {
    let place = P::new();
    place.block_on(async { place.open().install(&sample(), &[]).unwrap() });
    for v6 in [false, true] {
        for client in [Client::Container, Client::Host] {
            // That one of three is missed by 80 draws has a chance below 1 in 10^13.
            let three = reached(&place, client, frontend(v6, 1, L4::Tcp, 80), 80);
            assert_eq!(three, slots(v6, 1..=3).iter().copied().collect());
            assert_eq!(reached(&place, client, frontend(v6, 2, L4::Udp, 80), 3).len(), 1);
            let many = reached(&place, client, frontend(v6, 3, L4::Tcp, 80), 80);
            assert!(many.len() > 3 && many.is_subset(&slots(v6, 1..=100).iter().copied().collect()), "{many:?}");
        }
    }
}

pub(super) fn who_serves_nobody_is_refused_and_who_is_not_ours_is_left_alone<P: Place>() {
    let place = P::new();
    place.block_on(async { place.open().install(&sample(), &[]).unwrap() });
    for v6 in [false, true] {
        for client in [Client::Container, Client::Host] {
            let nobody = [(1, L4::Tcp, 81), (9, L4::Tcp, 80), (9, L4::Udp, 80), (1, L4::Udp, 80)];
            for (n, l4, port) in nobody {
                assert_eq!(
                    place.dial(client, frontend(v6, n, l4, port)),
                    Fate::IsRefused,
                    "{client:?} {n} {l4} {port}"
                );
            }
            let own = Frontend { vip: served(v6, 1).ip(), l4: L4::Tcp, port: 8080.try_into().unwrap() };
            assert_eq!(place.dial(client, own), Fate::Reaches(served(v6, 1)));
        }
    }
}

pub(super) fn dns_is_captured_while_the_lease_lasts<P: Place>() {
    let place = P::new();
    let query = |server| Frontend { vip: server, l4: L4::Udp, port: 53.try_into().unwrap() };
    let reaches = |captured: bool| {
        for v6 in [false, true] {
            let range = ranges().iter().find(|range| range.contains(frontend(v6, 0, L4::Udp, 53).vip)).unwrap();
            let there = SocketAddr::new(outside(v6), 53);
            for (client, port) in [(Client::Container, CONTAINERS_PORT), (Client::Host, HOST_PORT)] {
                let here = SocketAddr::new(range.resolver(), port);
                let fate = place.dial(client, query(outside(v6)));
                assert_eq!(fate, Fate::Reaches(if captured { here } else { there }), "{client:?} v6={v6}");
            }
            assert_eq!(place.dial(Client::OwnDns, query(outside(v6))), Fate::Reaches(there), "servers of its own");
            let other = served(v6, 1).ip();
            for client in [Client::Container, Client::OwnDns, Client::Host] {
                let fate = place.dial(client, query(other));
                assert_eq!(fate, Fate::Reaches(SocketAddr::new(other, 53)), "{client:?} asks another server");
            }
        }
    };
    let mut backend = place.block_on(async { place.open() });
    reaches(false);
    place.block_on(async { backend.install(&sample(), &[]).unwrap() });
    reaches(false);
    place.block_on(async { backend.set_leases(&leases(LONG)).unwrap() });
    reaches(true);
    place.block_on(async { backend.set_leases(&[]).unwrap() });
    reaches(false);
    place.block_on(async { backend.install(&sample(), &leases(LONG)).unwrap() });
    reaches(true);
}

pub(super) fn changes_of_others_are_told_and_ones_own_are_not<P: Place>() {
    let place = P::new();
    place.block_on(async {
        let mut backend = place.open();
        backend.install(&sample(), &[]).unwrap();
        backend.apply(&Plan::new(&other(), &sample())).unwrap();
        backend.set_leases(&leases(LEASE)).unwrap();
        assert!(backend.foreign_change().now_or_never().is_none());
        place.tamper();
        told(&mut backend).await;
        backend.install(&sample(), &[]).unwrap();
        assert!(backend.foreign_change().now_or_never().is_none());
        place.flush();
        told(&mut backend).await;
        assert!(!backend.audit().unwrap());
    });
}

pub(super) fn what_is_removed_is_gone_and_can_be_removed_again<P: Place>() {
    let place = P::new();
    place.block_on(async {
        let mut backend = place.open();
        backend.install(&sample(), &leases(LEASE)).unwrap();
        for _ in 0..2 {
            backend.remove().unwrap();
            assert!(matches!(place.open().adopt().unwrap(), Found::Nothing));
        }
    });
    let own = Frontend { vip: served(false, 1).ip(), l4: L4::Tcp, port: 8080.try_into().unwrap() };
    assert_eq!(place.dial(Client::Container, own), Fate::Reaches(served(false, 1)));
}

/// Makes a test of each behaviour over a place.
macro_rules! tests_over {
    ($place:ty: $($test:ident)*) => { $(
        #[test]
        fn $test() {
            $crate::dataplane::behaviour::$test::<$place>();
        }
    )* };
    ($place:ty) => {
        $crate::dataplane::behaviour::tests_over! { $place:
            what_is_installed_is_adopted_by_the_next_agent
            a_plan_leads_from_one_ruleset_to_another
            a_plan_that_begins_elsewhere_is_refused_as_a_whole
            connections_reach_every_endpoint_of_their_service_and_no_other
            who_serves_nobody_is_refused_and_who_is_not_ours_is_left_alone
            dns_is_captured_while_the_lease_lasts
            changes_of_others_are_told_and_ones_own_are_not
            what_is_removed_is_gone_and_can_be_removed_again
        }
    };
}
pub(super) use tests_over;

mod over_memory {
    use super::*;

    struct InMemory {
        store: Store,
        runtime: tokio::runtime::Runtime,
    }

    impl Place for InMemory {
        type Backend = Memory;

        fn new() -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            Self { store: Store::default(), runtime: runtime.unwrap() }
        }

        fn open(&self) -> Memory {
            Memory::open(&self.store)
        }

        fn block_on<F: Future>(&self, future: F) -> F::Output {
            self.runtime.block_on(future)
        }

        fn dial(&self, client: Client, to: Frontend) -> Fate {
            self.block_on(async { self.store.walk(ranges(), client, to, |below| fastrand::usize(..below)) })
        }

        fn flush(&self) {
            self.store.flush();
        }

        fn tamper(&self) {
            self.store.tamper();
        }
    }

    tests_over!(InMemory);
}
