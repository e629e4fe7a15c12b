use super::*;
use crate::model::Network;

fn container(health: DockerHealth) -> Container {
    Container {
        id: "c".into(),
        name: "web".into(),
        image: "web".into(),
        labels: Arc::default(),
        network: Network::Unsupported("".into()),
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
        (DockerHealth::None, fresh, State::Healthy),
        (DockerHealth::Starting, fresh, State::Starting),
        (DockerHealth::Healthy, fresh, State::Healthy),
        (DockerHealth::Unhealthy, fresh, State::Starting),
        (DockerHealth::Unhealthy, was, State::Unhealthy),
    ] {
        assert_eq!(standing(&container(health), None, evidence).0, state, "{health:?}");
    }
}

#[test]
fn a_probe_overrules_docker_and_none_overrules_both() {
    let unhealthy = container(DockerHealth::Unhealthy);
    let answers = (State::Healthy, "answers".into());
    let probed = Evidence { probed: Some(&answers), ..Evidence::default() };
    assert_eq!(standing(&unhealthy, Some(&HealthCheck::Tcp), probed), (State::Healthy, "answers"));
    assert_eq!(standing(&unhealthy, Some(&HealthCheck::Tcp), Evidence::default()).0, State::Starting);
    assert_eq!(standing(&unhealthy, Some(&HealthCheck::None), Evidence::default()).0, State::Healthy);
}

#[test]
fn a_stop_overrules_everything() {
    for check in [None, Some(&HealthCheck::None), Some(&HealthCheck::Tcp)] {
        let stopping = Container { stopping: true, ..container(DockerHealth::Healthy) };
        assert_eq!(standing(&stopping, check, Evidence::default()).0, State::Draining);
        let paused = Container { paused: true, ..container(DockerHealth::Healthy) };
        assert_eq!(standing(&paused, check, Evidence::default()).0, State::Draining);
    }
}
