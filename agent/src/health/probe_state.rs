//! What the results of one endpoint's probes come to. Pure.

use std::time::Duration;

use crate::clients::backoff::Backoff;
use crate::model::EndpointState;

/// Failures in a row that make a healthy endpoint unhealthy.
pub(super) const FAILURES: u8 = 3;
/// Successes in a row that bring an unhealthy endpoint back.
const SUCCESSES: u8 = 2;
/// Between two probes of an endpoint that has been healthy.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two probes of one that has not.
const START: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Where an endpoint stands by its probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeState {
    /// Never answered; how many probes failed.
    Starting(u32),
    /// Answers; how many of the last probes failed.
    Healthy(u8),
    /// Answered once and does not; how many of the last probes succeeded.
    Unhealthy(u8),
}

impl ProbeState {
    /// Nothing is known yet.
    pub(super) const NEW: Self = Self::Starting(0);

    /// Where one stands that stood so when the agent last ran.
    pub(super) fn recalled(state: EndpointState) -> Self {
        match state {
            EndpointState::Healthy => Self::Healthy(0),
            EndpointState::Unhealthy => Self::Unhealthy(0),
            EndpointState::Starting | EndpointState::Ejected | EndpointState::Draining => Self::NEW,
        }
    }

    /// The state after one more probe.
    pub(super) fn after(self, success: bool) -> Self {
        match (self, success) {
            (Self::Starting(_), true) => Self::Healthy(0),
            (Self::Starting(failures), false) => Self::Starting(failures.saturating_add(1)),
            (Self::Healthy(_), true) => Self::Healthy(0),
            (Self::Healthy(failures), false) if failures + 1 < FAILURES => Self::Healthy(failures + 1),
            (Self::Healthy(_), false) => Self::Unhealthy(0),
            (Self::Unhealthy(successes), true) if successes + 1 < SUCCESSES => Self::Unhealthy(successes + 1),
            (Self::Unhealthy(_), true) => Self::Healthy(0),
            (Self::Unhealthy(_), false) => Self::Unhealthy(0),
        }
    }

    /// The endpoint's state, as far as its probes decide it.
    pub(super) fn state(self) -> EndpointState {
        match self {
            Self::Starting(_) => EndpointState::Starting,
            Self::Healthy(_) => EndpointState::Healthy,
            Self::Unhealthy(_) => EndpointState::Unhealthy,
        }
    }

    /// How long to wait before the next probe, after a probe that led to this state from `before`.
    pub(super) fn wait(self, before: Self) -> Duration {
        match (self, before) {
            (Self::Starting(_), Self::Starting(failures)) => START.after(failures),
            _ => INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests;
