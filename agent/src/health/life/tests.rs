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
        addresses: Arc::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        paused: false,
    }
}

#[test]
fn dockers_word_counts_where_there_is_no_probe() {
    let said = |fails| Evidence {
        docker: Some(DockerLife { started_ms: 1, was_healthy: true, fails }),
        ..Evidence::default()
    };
    let (fresh, passed, failed) = (Evidence::default(), said(false), said(true));
    for (health, evidence, state) in [
        (DockerHealth::None, fresh, EndpointState::Healthy),
        (DockerHealth::Starting, fresh, EndpointState::Starting),
        (DockerHealth::Healthy, fresh, EndpointState::Healthy),
        (DockerHealth::Unhealthy, fresh, EndpointState::Starting),
        (DockerHealth::Unhealthy, failed, EndpointState::Unhealthy),
        // dockerd has restarted, and the container has not.
        (DockerHealth::Starting, passed, EndpointState::Healthy),
        (DockerHealth::Starting, failed, EndpointState::Unhealthy),
    ] {
        assert_eq!(state_of(&container(health), None, evidence).0, state, "{health:?}");
    }
}

#[test]
fn what_docker_said_holds_for_one_life() {
    let mut life = None;
    for (health, started_ms, was_healthy, fails) in [
        (DockerHealth::Healthy, 1, true, false),
        (DockerHealth::Starting, 1, true, false),
        (DockerHealth::Unhealthy, 1, true, true),
        (DockerHealth::Starting, 1, true, true),
        (DockerHealth::Unhealthy, 2, false, true),
    ] {
        life = DockerLife::after(life, &Container { started_ms, ..container(health) });
        assert_eq!(life, Some(DockerLife { started_ms, was_healthy, fails }), "{health:?}");
    }
    assert_eq!(DockerLife::after(life, &Container { started_ms: 3, ..container(DockerHealth::Starting) }), None);
}

#[test]
fn a_probe_overrules_docker_and_none_overrules_both() {
    let unhealthy = container(DockerHealth::Unhealthy);
    let answers = (EndpointState::Healthy, "answers".into());
    let probed = Evidence { probed: Some(&answers), ..Evidence::default() };
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::Tcp), probed), (EndpointState::Healthy, "answers", false));
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::Tcp), Evidence::default()).0, EndpointState::Starting);
    assert_eq!(state_of(&unhealthy, Some(&HealthCheck::None), Evidence::default()).0, EndpointState::Healthy);
}

#[test]
fn a_stop_overrules_everything() {
    for check in [None, Some(&HealthCheck::None), Some(&HealthCheck::Tcp)] {
        let stopping = Container { stopping: true, ..container(DockerHealth::Healthy) };
        assert_eq!(state_of(&stopping, check, Evidence::default()).0, EndpointState::Draining);
        let paused = Container { paused: true, ..container(DockerHealth::Healthy) };
        let (state, _, serves) = state_of(&paused, check, Evidence::default());
        assert_eq!((state, serves), (EndpointState::Draining, false), "frozen, it answers nobody");
    }
}

#[test]
fn one_that_was_healthy_when_its_stop_began_is_a_last_resort_until_it_answers_no_more() {
    let stopping = |health| Container { stopping: true, ..container(health) };
    let serves = |health, check, evidence| state_of(&stopping(health), check, evidence).2;
    let fresh = Evidence::default();
    for (health, last_resort) in [
        (DockerHealth::None, true),
        (DockerHealth::Healthy, true),
        (DockerHealth::Starting, false),
        (DockerHealth::Unhealthy, false),
    ] {
        assert_eq!(serves(health, None, fresh), last_resort, "{health:?}");
    }
    let [healthy, unhealthy] = [EndpointState::Healthy, EndpointState::Unhealthy].map(|state| (state, "".into()));
    let tcp = Some(&HealthCheck::Tcp);
    assert!(!serves(DockerHealth::None, tcp, fresh), "it never answered");
    assert!(serves(DockerHealth::None, tcp, Evidence { probed: Some(&healthy), ..fresh }));
    assert!(!serves(DockerHealth::None, tcp, Evidence { probed: Some(&healthy), silent: true, ..fresh }));
    assert!(!serves(DockerHealth::None, tcp, Evidence { probed: Some(&unhealthy), ..fresh }));
}
