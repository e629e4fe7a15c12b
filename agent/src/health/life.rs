//! Where an endpoint stands, from what its container, its probes and Docker say. Pure.

use std::sync::Arc;

use crate::model::{Container, DockerHealth, EndpointState, HealthCheck};

/// What decides about an endpoint besides its container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evidence<'a> {
    /// What its probes say; `None` before the first.
    pub(super) probed: Option<&'a (EndpointState, Arc<str>)>,
    /// Whether its last probe failed, whatever came of that so far.
    pub(super) silent: bool,
    /// Whether Docker has called the container healthy in this life.
    pub(super) docker_was_healthy: bool,
}

/// The endpoint's state and the reason, for people; and whether it still serves, although it drains, where nobody else
/// does.
pub(super) fn state_of<'a>(
    container: &Container,
    check: Option<&HealthCheck>,
    evidence: Evidence<'a>,
) -> (EndpointState, &'a str, bool) {
    // Frozen, it answers nobody.
    if container.paused {
        return (EndpointState::Draining, "its container is paused", false);
    }
    let (state, reason) = found(container, check, evidence);
    if container.stopping {
        let answers = state == EndpointState::Healthy && !evidence.silent;
        return (EndpointState::Draining, "its container is being stopped", answers);
    }
    (state, reason, false)
}

/// What is found of an endpoint whose container is let run.
fn found<'a>(container: &Container, check: Option<&HealthCheck>, evidence: Evidence<'a>) -> (EndpointState, &'a str) {
    match check {
        Some(HealthCheck::None) => (EndpointState::Healthy, "runs; its health is not to be asked (none)"),
        Some(_) => match evidence.probed {
            Some((state, reason)) => (*state, reason),
            None => (EndpointState::Starting, "has not been probed yet"),
        },
        None => match container.health {
            DockerHealth::None => (EndpointState::Healthy, "runs; it has no health check"),
            DockerHealth::Healthy => (EndpointState::Healthy, "its Docker health check passes"),
            DockerHealth::Starting => (EndpointState::Starting, "its Docker health check has not passed yet"),
            DockerHealth::Unhealthy if evidence.docker_was_healthy => {
                (EndpointState::Unhealthy, "its Docker health check fails")
            }
            DockerHealth::Unhealthy => {
                (EndpointState::Starting, "its Docker health check fails and has not passed yet")
            }
        },
    }
}

/// Whether two snapshots of a container offer the same endpoints: they may differ in health and in what befalls it.
pub(super) fn same_offers(a: &Container, b: &Container) -> bool {
    a.started_ms == b.started_ms
        && a.network == b.network
        && a.name == b.name
        && a.image == b.image
        && (Arc::ptr_eq(&a.labels, &b.labels) || a.labels == b.labels)
}

#[cfg(test)]
mod tests;
