//! Where an endpoint stands, from what its container, its probes and Docker say. Pure.

use std::sync::Arc;

use crate::model::{Container, DockerHealth, HealthCheck, State};

/// What decides about an endpoint besides its container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evidence<'a> {
    /// What its probes say; `None` before the first.
    pub(super) probed: Option<&'a (State, Arc<str>)>,
    /// Whether Docker has called the container healthy in this life.
    pub(super) docker_was_healthy: bool,
}

/// The endpoint's state and the reason, for people.
pub(super) fn standing<'a>(
    container: &Container,
    check: Option<&HealthCheck>,
    evidence: Evidence<'a>,
) -> (State, &'a str) {
    if container.stopping {
        return (State::Draining, "its container is being stopped");
    }
    if container.paused {
        return (State::Draining, "its container is paused");
    }
    match check {
        Some(HealthCheck::None) => (State::Healthy, "runs; its health is not to be asked (none)"),
        Some(_) => match evidence.probed {
            Some((state, reason)) => (*state, reason),
            None => (State::Starting, "has not been probed yet"),
        },
        None => match container.health {
            DockerHealth::None => (State::Healthy, "runs; it has no health check"),
            DockerHealth::Healthy => (State::Healthy, "its Docker health check passes"),
            DockerHealth::Starting => (State::Starting, "its Docker health check has not passed yet"),
            DockerHealth::Unhealthy if evidence.docker_was_healthy => {
                (State::Unhealthy, "its Docker health check fails")
            }
            DockerHealth::Unhealthy => (State::Starting, "its Docker health check fails and has not passed yet"),
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
