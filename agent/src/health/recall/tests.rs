use std::sync::Arc;

use super::*;

fn endpoint(n: u8, state: EndpointState, published: Option<&str>) -> Endpoint {
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().try_into().unwrap();
    let local: SocketAddrs = at(&format!("172.17.0.{n}:8080"));
    Endpoint {
        service: ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() },
        id: EndpointId::new(&format!("{n:02x}{:062}", 0), local.port, crate::model::L4::Tcp),
        addresses: EndpointAddresses::Own { network: LocalNetwork::Bridge, local, published: published.map(at) },
        protocol: "http".parse().unwrap(),
        aliases: ["orders:80".parse().unwrap(), "orders.prod:81".parse().unwrap()].into(),
        weight: "7".parse().unwrap(),
        node: "node".into(),
        zone: Some("a".into()),
        task: "task".into(),
        container: format!("{n:02x}{:062}", 0).into(),
        started_ms: 1_767_323_045_678,
        state,
        last_resort: false,
        reason: "its own".into(),
    }
}

fn all(endpoints: &[Endpoint]) -> Endpoints {
    endpoints.iter().map(|endpoint| (endpoint.key(), Arc::new(endpoint.clone()))).collect()
}

fn written(endpoints: &[Endpoint], docker: &HashMap<ContainerId, DockerLife>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let stops = HashMap::from([("s".into(), Begun { started_ms: 7, since: 8 })]);
    write(&mut bytes, &all(endpoints), docker, &stops).unwrap();
    bytes
}

#[test]
fn what_stood_is_recalled_with_all_that_a_client_needs_of_it() {
    let healthy = endpoint(1, EndpointState::Healthy, Some("10.0.0.1:32768"));
    let unhealthy = endpoint(2, EndpointState::Unhealthy, None);
    let drains = Endpoint { last_resort: true, ..endpoint(3, EndpointState::Draining, None) };
    let nothing = [
        endpoint(4, EndpointState::Starting, None),
        endpoint(5, EndpointState::Draining, None),
        Endpoint { addresses: EndpointAddresses::remote("10.0.0.2:80"), ..endpoint(6, EndpointState::Healthy, None) },
    ];
    let docker = HashMap::from([("c".into(), DockerLife { started_ms: 7, was_healthy: true, fails: true })]);
    let endpoints = [&[healthy.clone(), unhealthy.clone(), drains.clone()][..], &nothing].concat();
    let recalled = read(&written(&endpoints, &docker)).unwrap();
    let of = |endpoint: &Endpoint| recalled.endpoints[&endpoint.container][0].clone();
    assert_eq!((recalled.endpoints.len(), &recalled.docker), (3, &docker));
    assert_eq!(recalled.stops["s"], Begun { started_ms: 7, since: 8 });
    assert_eq!(of(&healthy), Endpoint { reason: WAS_HEALTHY.into(), ..healthy });
    assert_eq!(of(&unhealthy), Endpoint { reason: WAS_UNHEALTHY.into(), ..unhealthy });
    assert_eq!(of(&drains).state, EndpointState::Healthy, "its drain is its container's");
}

#[test]
fn a_file_that_is_damaged_anywhere_says_nothing() {
    let docker = HashMap::from([("c".into(), DockerLife { started_ms: 7, was_healthy: true, fails: false })]);
    let whole = written(&[endpoint(1, EndpointState::Healthy, None)], &docker);
    assert!(read(&whole).is_ok());
    for at in 0..whole.len() {
        assert!(read(&whole[..at]).is_err(), "cut at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(read(&flipped).is_err(), "changed at {at}");
    }
    assert!(read(b"").is_err());
}

#[test]
fn a_file_of_another_version_says_nothing() {
    let body = "{\"version\":2}\n";
    let other = format!("{body}{{\"crc32\":{}}}\n", crc32fast::hash(body.as_bytes()));
    assert!(matches!(read(other.as_bytes()), Err(RecallError::Version)));
}
