use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::model::address::octets;
use crate::model::{AppProtocol, EndpointAddresses, EndpointId, LocalNetwork, ServiceId, Weight};

#[cfg(feature = "kernel")]
mod kernel_tests;

const LONG: Duration = Duration::from_secs(10);

/// The only endpoint of its state here.
fn endpoint(state: EndpointState) -> Endpoint {
    at(SocketAddr::new([172, 17, 0, state as u8 + 2].into(), 8080), AppProtocol::Tcp, state)
}

fn at(address: SocketAddr, protocol: AppProtocol, state: EndpointState) -> Endpoint {
    let port = address.port().try_into().unwrap();
    Endpoint {
        service: ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
        id: EndpointId::new(
            &format!("{:012x}", u32::from_be_bytes(octets(address.ip()).try_into().unwrap())),
            port,
            protocol.l4(),
        ),
        addresses: own(address),
        protocol,
        aliases: ["orders:80".parse().unwrap()].into(),
        weight: Weight::default(),
        node: "node".into(),
        zone: None,
        task: "task".into(),
        container: "c".into(),
        started_ms: 0,
        state,
        last_resort: false,
        reason: "its own".into(),
    }
}

fn own(address: SocketAddr) -> EndpointAddresses {
    let local = address.try_into().unwrap();
    EndpointAddresses::Own { network: LocalNetwork::Bridge, local, published: None }
}

fn endpoints(all: impl IntoIterator<Item = Endpoint>) -> Endpoints {
    all.into_iter().map(|endpoint| (endpoint.key(), Arc::new(endpoint))).collect()
}

fn draining() -> Availability {
    Availability::Draining { why: "its node drains".into() }
}

fn last_resort() -> Availability {
    Availability::LastResort { why: "its node verifies".into() }
}

#[test]
fn a_node_that_serves_hands_on_the_very_map() {
    let own = endpoints(EndpointState::ALL.map(endpoint));
    assert!(withhold(&own, &Availability::Serving).ptr_eq(&own));
}

#[test]
fn only_what_the_standing_says_changes_about_an_endpoint() {
    let own = endpoints(EndpointState::ALL.map(endpoint));
    for state in EndpointState::ALL {
        let before = endpoint(state);
        let became = |availability| Endpoint::clone(&withhold(&own, &availability)[&before.key()]);
        for (availability, why) in [(draining(), "its node drains"), (last_resort(), "its node verifies")] {
            let reason = format!("{why}; serves where nobody else does").into();
            let held = match state {
                EndpointState::Healthy => {
                    Endpoint { state: EndpointState::Draining, last_resort: true, reason, ..before.clone() }
                }
                _ => before.clone(),
            };
            assert_eq!(became(availability), held, "{state}");
        }
    }
    for availability in [draining(), last_resort()] {
        assert!(withhold(&own, &availability).keys().eq(own.keys()), "nobody comes or goes");
    }
}

/// The stage, running.
struct Stage {
    own: watch::Sender<Option<Endpoints>>,
    availability: watch::Sender<Availability>,
    out: watch::Receiver<Option<Endpoints>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn start(first: Availability) -> Self {
        let (own, own_in) = watch::channel(None);
        let (availability, availability_in) = watch::channel(first);
        let (out_tell, out) = watch::channel(None);
        Self { own, availability, out, task: tokio::spawn(follow(own_in, availability_in, out_tell)) }
    }

    async fn until(&mut self, wanted: impl Fn(&Endpoints) -> bool) {
        let wanted = |out: &Option<Endpoints>| out.as_ref().is_some_and(&wanted);
        let found = timeout(LONG, self.out.wait_for(wanted)).await.map(|found| found.map(drop));
        found.unwrap_or_else(|_| panic!("{:?}", self.out.borrow())).unwrap();
    }
}

#[tokio::test]
async fn endpoints_leave_come_as_a_last_resort_and_come_back() {
    let mut stage = Stage::start(Availability::Serving);
    let own = endpoints([endpoint(EndpointState::Healthy)]);
    stage.own.send_replace(Some(own.clone()));
    stage.until(|out| out.ptr_eq(&own)).await;
    stage.availability.send_replace(draining());
    stage.until(|out| out.values().all(|e| e.state == EndpointState::Draining && e.last_resort)).await;
    // One that starts meanwhile is withheld from the first; one that is not healthy comes after all others anyway.
    let more = endpoints([endpoint(EndpointState::Healthy), endpoint(EndpointState::Unhealthy)]);
    stage.own.send_replace(Some(more.clone()));
    stage.until(|out| out.len() == 2).await;
    assert!(stage.out.borrow().iter().flat_map(Endpoints::values).all(|e| e.state != EndpointState::Healthy));
    stage.availability.send_replace(last_resort());
    stage.until(|out| out.values().any(|e| e.reason.contains("verifies"))).await;
    stage.availability.send_replace(Availability::Serving);
    stage.until(|out| out.ptr_eq(&more)).await;
}

#[tokio::test]
async fn what_is_not_known_stays_so_and_is_withheld_when_it_comes() {
    let mut stage = Stage::start(draining());
    stage.availability.send_replace(last_resort());
    tokio::task::yield_now().await;
    assert!(stage.out.borrow().is_none() && !stage.out.has_changed().unwrap());
    stage.own.send_replace(Some(endpoints([endpoint(EndpointState::Healthy)])));
    stage.until(|out| out.values().all(|e| e.last_resort)).await;
    stage.own.send_replace(None);
    timeout(LONG, stage.out.wait_for(Option::is_none)).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_standing_stands_when_its_owner_is_gone_and_the_stage_ends_with_health() {
    let Stage { own, availability, mut out, task } = Stage::start(draining());
    drop(availability);
    own.send_replace(Some(endpoints([endpoint(EndpointState::Healthy)])));
    let withheld = |out: &Option<Endpoints>| {
        out.as_ref().is_some_and(|out| out.values().all(|endpoint| endpoint.state == EndpointState::Draining))
    };
    timeout(LONG, out.wait_for(withheld)).await.unwrap().unwrap();
    drop(own);
    timeout(LONG, task).await.unwrap().unwrap();
}
