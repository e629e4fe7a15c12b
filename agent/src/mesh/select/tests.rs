use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::model::{EndpointId, L4, ServiceId};

fn endpoint(n: u8, state: State, zone: Option<&str>) -> Arc<Endpoint> {
    let port = NonZeroU16::new(8080).unwrap();
    Arc::new(Endpoint {
        service: ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
        id: EndpointId::new(&format!("{n:012x}"), port, L4::Tcp),
        address: SocketAddrV4::new([10, 0, 0, n].into(), port.get()),
        protocol: "tcp".parse().unwrap(),
        aliases: [format!("orders:{port}").parse().unwrap()].into(),
        weight: Weight::default(),
        node: "node".into(),
        zone: zone.map(Into::into),
        task: "task".into(),
        container: "c".into(),
        started_ms: 0,
        state,
        reason: "".into(),
    })
}

fn chosen(endpoints: &[Arc<Endpoint>], ejected: &[u8], locality: Locality) -> Vec<u8> {
    let start = tokio::time::Instant::now();
    let ejections = ejected
        .iter()
        .enumerate()
        .map(|(order, &n)| {
            let at = (L4::Tcp, SocketAddrV4::new([10, 0, 0, n].into(), 8080));
            let until = start + std::time::Duration::from_secs(300 - order as u64);
            (at, Ejection { until, reason: "refused".into() })
        })
        .collect();
    let (_, chosen) = select(endpoints, &ejections, Some(&"a".into()), locality);
    chosen.into_iter().map(|(address, _)| address.ip().octets()[3]).collect()
}

#[test]
fn the_healthy_serve_then_those_that_once_were_and_never_the_others() {
    use State::*;
    let all = |states: &[State]| (1..).zip(states).map(|(n, &state)| endpoint(n, state, None)).collect::<Vec<_>>();
    let pick = |states: &[State]| chosen(&all(states), &[], Locality::None);
    assert_eq!(pick(&[Healthy, Unhealthy, Starting, Draining, Healthy]), [1, 5]);
    assert_eq!(pick(&[Unhealthy, Starting, Draining]), [1]);
    assert!(pick(&[Starting, Draining]).is_empty());
}

#[test]
fn at_most_half_are_ejected_the_longest_first() {
    let five: Vec<_> = (1..=5).map(|n| endpoint(n, State::Healthy, None)).collect();
    assert_eq!(chosen(&five, &[4, 2], Locality::None), [1, 3, 5]);
    assert_eq!(chosen(&five, &[5, 4, 3, 2, 1], Locality::None), [1, 2, 3]);
    assert_eq!(chosen(&five[..1], &[1], Locality::None), [1]);
}

#[test]
fn the_own_zone_is_preferred_while_any_of_it_serves() {
    let near = |state| endpoint(1, state, Some("a"));
    let far = endpoint(2, State::Healthy, Some("b"));
    assert_eq!(chosen(&[near(State::Healthy), far.clone()], &[], Locality::PreferZone), [1]);
    assert_eq!(chosen(&[near(State::Healthy), far.clone()], &[], Locality::None), [1, 2]);
    assert_eq!(chosen(&[near(State::Unhealthy), far.clone()], &[], Locality::PreferZone), [2]);
    assert_eq!(chosen(&[near(State::Healthy), far], &[1], Locality::PreferZone), [2]);
}

proptest! {
    #[test]
    fn an_unhealthy_endpoint_never_serves_while_a_healthy_one_is_left(
        states in prop::collection::vec(prop::sample::select(&State::ALL[..]), 0..20),
        ejected in prop::collection::vec(1u8..20, 0..20),
    ) {
        let endpoints: Vec<_> = (1..).zip(&states).map(|(n, &state)| endpoint(n, state, None)).collect();
        let chosen = chosen(&endpoints, &ejected, Locality::PreferZone);
        let state = |n: &u8| states[usize::from(*n) - 1];
        let healthy = states.iter().filter(|&&s| s == State::Healthy).count();
        if healthy > 0 {
            prop_assert!(chosen.iter().all(|n| state(n) == State::Healthy));
            prop_assert!(chosen.len() >= healthy.div_ceil(2));
        } else {
            prop_assert!(chosen.iter().all(|n| state(n) == State::Unhealthy));
        }
    }
}
