use super::*;
use crate::model::{HostsFile, Network};

fn container(health: DockerHealth) -> Container {
    Container {
        id: "c".into(),
        name: "web".into(),
        image: "web".into(),
        labels: Arc::default(),
        network: Network::Unsupported("".into()),
        hosts: HostsFile::None,
        health,
        started_ms: 1,
        stopping: false,
        paused: false,
    }
}

#[test]
fn dockers_word_counts_where_there_is_no_probe() {
    let (fresh, was) = (Evidence::default(), Evidence { docker_was_healthy: true, ..Evidence::default() });
    for (health, evidence, state) in [
        (DockerHealth::None, fresh, EndpointState::Healthy),
        (DockerHealth::Starting, fresh, EndpointState::Starting),
        (DockerHealth::Healthy, fresh, EndpointState::Healthy),
        (DockerHealth::Unhealthy, fresh, EndpointState::Starting),
        (DockerHealth::Unhealthy, was, EndpointState::Unhealthy),
    ] {
        assert_eq!(state_of(&container(health), None, evidence).0, state, "{health:?}");
    }
}

#[test]
fn a_probe_overrules_docker_and_none_overrules_both() {
    let unhealthy = container(DockerHealth::Unhealthy);
    let answers = (EndpointState::Healthy, "answers".into());
    let probed = Evidence { probed: Some(&answers), ..Evidence::default() };
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::Tcp), probed), (EndpointState::Healthy, "answers"));
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::Tcp), Evidence::default()).0, EndpointState::Starting);
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::None), Evidence::default()).0, EndpointState::Healthy);
}

#[test]
fn a_stop_overrules_everything() {
    for check in [None, Some(&HealthCheck::None), Some(&HealthCheck::Tcp)] {
        let stopping = Container { stopping: true, ..container(DockerHealth::Healthy) };
        assert_eq!(state_of(&stopping, check, Evidence::default()).0, EndpointState::Draining);
        let paused = Container { paused: true, ..container(DockerHealth::Healthy) };
        assert_eq!(state_of(&paused, check, Evidence::default()).0, EndpointState::Draining);
    }
}
