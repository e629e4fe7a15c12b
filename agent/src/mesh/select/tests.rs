use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::model::{EndpointAddresses, EndpointId, L4, ServiceId, Target, Weight};

fn endpoint(n: u8, state: EndpointState, zone: Option<&str>) -> Arc<Endpoint> {
    let port = NonZeroU16::new(8080).unwrap();
    Arc::new(Endpoint {
        service: ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
        id: EndpointId::new(&format!("{n:012x}"), port, L4::Tcp),
        addresses: EndpointAddresses::on_bridge(&format!("10.0.0.{n}:8080")),
        protocol: "tcp".parse().unwrap(),
        aliases: [format!("orders:{port}").parse().unwrap()].into(),
        weight: Weight::default(),
        node: "node".into(),
        zone: zone.map(Into::into),
        task: "task".into(),
        container: "c".into(),
        started_ms: 0,
        state,
        last_resort: false,
        reason: "".into(),
    })
}

fn held_back(n: u8, zone: Option<&str>) -> Arc<Endpoint> {
    Arc::new(Endpoint { last_resort: true, ..Endpoint::clone(&endpoint(n, EndpointState::Draining, zone)) })
}

fn chosen(endpoints: &[Arc<Endpoint>], ejected: &[u8], locality: Locality) -> Vec<u8> {
    chosen_but(endpoints, ejected, &[], locality)
}

/// `proven`: those that are ejected by proof as well.
fn chosen_but(endpoints: &[Arc<Endpoint>], ejected: &[u8], proven: &[u8], locality: Locality) -> Vec<u8> {
    let start = tokio::time::Instant::now();
    let ejections = ejected
        .iter()
        .chain(proven)
        .enumerate()
        .map(|(order, &n)| {
            let at = Target::new(L4::Tcp, SocketAddr::new([10, 0, 0, n].into(), 8080));
            let until = start + std::time::Duration::from_secs(300 - order as u64);
            (at, Ejection { until, reason: "refused".into(), proven: proven.contains(&n) })
        })
        .collect();
    let judged = judge(endpoints, &ejections);
    let chosen = select(&judged, |_| true, Some(&"a".into()), locality);
    let last = |i: usize| match judged[i].endpoint.addresses.first().ip() {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => panic!("{address}"),
    };
    chosen.into_iter().map(last).collect()
}

#[test]
fn the_healthy_serve_then_those_that_once_were_and_never_the_others() {
    use EndpointState::*;
    let all =
        |states: &[EndpointState]| (1..).zip(states).map(|(n, &state)| endpoint(n, state, None)).collect::<Vec<_>>();
    let pick = |states: &[EndpointState]| chosen(&all(states), &[], Locality::None);
    assert_eq!(pick(&[Healthy, Unhealthy, Starting, Draining, Healthy]), [1, 5]);
    assert_eq!(pick(&[Unhealthy, Starting, Draining]), [1]);
    assert!(pick(&[Starting, Draining]).is_empty());
}

#[test]
fn one_turn_at_a_time_serves_whoever_else_is_there_near_or_far_ejected_or_not() {
    // In the order of their turns, two of a kind, the first of them near; the last two kinds have no turn.
    let kinds = |n: u8, zone| match n / 2 {
        0 => endpoint(n, EndpointState::Healthy, zone),
        1 => held_back(n, zone),
        2 => endpoint(n, EndpointState::Unhealthy, zone),
        3 => endpoint(n, EndpointState::Starting, zone),
        _ => endpoint(n, EndpointState::Draining, zone),
    };
    for there in 0u16..1 << 10 {
        let numbers: Vec<u8> = (0..10).filter(|n| there >> n & 1 == 1).collect();
        let endpoints: Vec<_> = numbers.iter().map(|&n| kinds(n, Some(["a", "b"][usize::from(n % 2)]))).collect();
        let turn = (0..3).map(|kind| numbers.iter().copied().filter(|n| n / 2 == kind).collect::<Vec<_>>());
        let turn = turn.into_iter().find(|turn| !turn.is_empty()).unwrap_or_default();
        assert_eq!(chosen(&endpoints, &[], Locality::None), turn, "{numbers:?}");
        // One of two healthy ones may be ejected, a lone one never; nor is one of the other kinds.
        let stays = if turn == [0, 1] { vec![1] } else { turn.clone() };
        assert_eq!(chosen(&endpoints, &numbers, Locality::None), stays, "{numbers:?} ejected");
        for (ejected, turn) in [(&[][..], turn), (&numbers[..], stays)] {
            // All there are, if they are not of both zones.
            let near = if turn.len() == 2 { &turn[..1] } else { &turn[..] };
            assert_eq!(
                chosen(&endpoints, ejected, Locality::PreferZone),
                near,
                "{numbers:?} near, {ejected:?} ejected"
            );
        }
    }
}

#[test]
fn to_be_a_last_resort_means_nothing_unless_it_drains() {
    let marked = |state| Arc::new(Endpoint { state, ..Endpoint::clone(&held_back(1, None)) });
    let beside = |state, other| chosen(&[marked(state), endpoint(2, other, None)], &[], Locality::None);
    assert_eq!(beside(EndpointState::Healthy, EndpointState::Healthy), [1, 2]);
    assert_eq!(beside(EndpointState::Unhealthy, EndpointState::Unhealthy), [1, 2]);
    assert_eq!(beside(EndpointState::Unhealthy, EndpointState::Healthy), [2]);
    assert!(beside(EndpointState::Starting, EndpointState::Starting).is_empty());
    assert_eq!(beside(EndpointState::Ejected, EndpointState::Starting), [1], "it may be back");
}

#[test]
fn one_that_is_held_back_is_shown_as_draining_while_it_serves() {
    let judged = judge(&[held_back(1, None)], &Ejections::new());
    let chosen = select(&judged, |_| true, None, Locality::None);
    assert_eq!((judged[0].state, chosen.len()), (EndpointState::Draining, 1));
}

#[test]
fn at_most_half_are_ejected_the_longest_first() {
    let five: Vec<_> = (1..=5).map(|n| endpoint(n, EndpointState::Healthy, None)).collect();
    assert_eq!(chosen(&five, &[4, 2], Locality::None), [1, 3, 5]);
    assert_eq!(chosen(&five, &[5, 4, 3, 2, 1], Locality::None), [1, 2, 3]);
    assert_eq!(chosen(&five[..1], &[1], Locality::None), [1]);
}

#[test]
fn any_number_is_ejected_by_proof_and_half_of_the_others_on_suspicion() {
    let five: Vec<_> = (1..=5).map(|n| endpoint(n, EndpointState::Healthy, None)).collect();
    let pick = |suspected: &[u8], proven: &[u8]| chosen_but(&five, suspected, proven, Locality::None);
    assert_eq!(pick(&[], &[1, 2, 3, 4]), [5]);
    assert_eq!(pick(&[5], &[1, 2, 3, 4]), [5], "nobody else is left");
    assert_eq!(pick(&[4, 5], &[1, 2, 3]), [5], "half of the two that are left");
    assert_eq!(pick(&[], &[1, 2, 3, 4, 5]), [1, 2, 3, 4, 5], "one of them may be back");
    // Whoever drains and is proven to fail comes after one whose check fails.
    let left = [held_back(1, None), endpoint(2, EndpointState::Unhealthy, None)];
    assert_eq!(chosen(&left, &[1], Locality::None), [1]);
    assert_eq!(chosen_but(&left, &[], &[1], Locality::None), [2]);
}

#[test]
fn the_own_zone_is_preferred_while_any_of_it_serves() {
    let near = |state| endpoint(1, state, Some("a"));
    let far = endpoint(2, EndpointState::Healthy, Some("b"));
    assert_eq!(chosen(&[near(EndpointState::Healthy), far.clone()], &[], Locality::PreferZone), [1]);
    assert_eq!(chosen(&[near(EndpointState::Healthy), far.clone()], &[], Locality::None), [1, 2]);
    assert_eq!(chosen(&[near(EndpointState::Unhealthy), far.clone()], &[], Locality::PreferZone), [2]);
    assert_eq!(chosen(&[near(EndpointState::Healthy), far], &[1], Locality::PreferZone), [2]);
}

#[test]
fn who_cannot_be_reached_serves_nobody_and_holds_nobody_up() {
    let judged = judge(
        &[endpoint(1, EndpointState::Healthy, None), endpoint(2, EndpointState::Unhealthy, None)],
        &Ejections::new(),
    );
    let second = |endpoint: &Endpoint| endpoint.addresses == EndpointAddresses::on_bridge("10.0.0.2:8080");
    assert_eq!(select(&judged, second, None, Locality::None), [1], "the healthy one is none for these clients");
    assert!(select(&judged, |_| false, None, Locality::None).is_empty());
}

proptest! {
    #[test]
    fn an_unhealthy_endpoint_never_serves_while_a_healthy_one_is_left(
        states in prop::collection::vec(prop::sample::select(&EndpointState::ALL[..]), 0..20),
        ejected in prop::collection::vec(1u8..20, 0..20),
    ) {
        let endpoints: Vec<_> = (1..).zip(&states).map(|(n, &state)| endpoint(n, state, None)).collect();
        let chosen = chosen(&endpoints, &ejected, Locality::PreferZone);
        let state = |n: &u8| states[usize::from(*n) - 1];
        let healthy = states.iter().filter(|&&s| s == EndpointState::Healthy).count();
        if healthy > 0 {
            prop_assert!(chosen.iter().all(|n| state(n) == EndpointState::Healthy));
            prop_assert!(chosen.len() >= healthy.div_ceil(2));
        } else {
            let turn = if states.contains(&EndpointState::Unhealthy) {
                EndpointState::Unhealthy
            } else {
                EndpointState::Ejected
            };
            prop_assert!(chosen.iter().all(|n| state(n) == turn));
        }
    }
}
