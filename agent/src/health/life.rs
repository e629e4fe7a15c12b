//! Where an endpoint stands, from what its container, its probes and Docker say. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Container, DockerHealth, EndpointState, HealthCheck};

/// What decides about an endpoint besides its container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Evidence<'a> {
    /// What its probes say; `None` before the first.
    pub(super) probed: Option<&'a (EndpointState, Arc<str>)>,
    /// Whether its container's stop had begun when the agent last ran.
    pub(super) stopping: bool,
    /// Whether its last probe failed, whatever came of that so far.
    pub(super) silent: bool,
    /// What Docker's health check has said so far.
    pub(super) docker: Option<DockerLife>,
}

/// What a container's Docker health check has said in the life that began then, `starting` left out: dockerd says so of
/// every container that outlived its own restart, and it is no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DockerLife {
    pub(super) started_ms: u64,
    /// Whether it ever passed.
    pub(super) was_healthy: bool,
    /// Whether it failed last.
    pub(super) fails: bool,
}

impl DockerLife {
    /// What is known once a container was looked at. `None` where its check has said nothing in this life.
    pub(super) fn after(before: Option<Self>, container: &Container) -> Option<Self> {
        let started_ms = container.started_ms;
        let before = before.filter(|before| before.started_ms == started_ms);
        match container.health {
            DockerHealth::Healthy => Some(Self { started_ms, was_healthy: true, fails: false }),
            DockerHealth::Unhealthy => {
                Some(Self { started_ms, was_healthy: before.is_some_and(|before| before.was_healthy), fails: true })
            }
            DockerHealth::Starting | DockerHealth::None => before,
        }
    }
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
    if container.stopping || evidence.stopping {
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
            DockerHealth::Starting => match evidence.docker {
                Some(DockerLife { was_healthy: true, fails: false, .. }) => {
                    (EndpointState::Healthy, "its Docker health check passed, and begins anew")
                }
                Some(DockerLife { was_healthy: true, fails: true, .. }) => {
                    (EndpointState::Unhealthy, "its Docker health check failed, and begins anew")
                }
                _ => (EndpointState::Starting, "its Docker health check has not passed yet"),
            },
            DockerHealth::Unhealthy if evidence.docker.is_some_and(|docker| docker.was_healthy) => {
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
        && a.admitted == b.admitted
        && (Arc::ptr_eq(&a.labels, &b.labels) || a.labels == b.labels)
}

#[cfg(test)]
mod tests;
