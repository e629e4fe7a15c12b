//! Stops of containers that have begun: who starts while one is under way did not see its signal. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::model::{Container, ContainerId};
use crate::sources::STOP_BELIEVED;

/// When a stop was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Which life of the container it is to end.
    pub(super) started_ms: u64,
    /// When, in seconds since the Unix epoch.
    pub(super) since: u64,
}

/// The stops that are under way.
#[derive(Debug, Default)]
pub(super) struct Stops(HashMap<ContainerId, Stop>);

#[derive(Debug, Clone, Copy)]
struct Stop {
    begun: Begun,
    /// Where only the last start of the agent saw it: until when it is believed in.
    until: Option<Instant>,
}

impl Stops {
    /// With those that the last start of the agent saw. `wall`: the time in seconds since the Unix epoch.
    pub(super) fn recalled(begun: HashMap<ContainerId, Begun>, wall: u64, now: Instant) -> Self {
        let stop = |(id, begun): (ContainerId, Begun)| {
            let left = STOP_BELIEVED.as_secs().checked_sub(wall.saturating_sub(begun.since))?;
            Some((id, Stop { begun, until: Some(now + std::time::Duration::from_secs(left)) }))
        };
        Self(begun.into_iter().filter_map(stop).collect())
    }

    /// Takes note of how a container is; true where there is something new to remember.
    pub(super) fn follow(&mut self, container: &Container, wall: u64) -> bool {
        let started_ms = container.started_ms;
        let known = self.0.get_mut(&container.id).filter(|stop| stop.begun.started_ms == started_ms);
        match (container.stopping, known) {
            (true, Some(stop)) => {
                stop.until = None;
                false
            }
            (true, None) => {
                let stop = Stop { begun: Begun { started_ms, since: wall }, until: None };
                self.0.insert(container.id.clone(), stop);
                true
            }
            (false, Some(Stop { until: Some(_), .. })) => false,
            (false, _) => self.0.remove(&container.id).is_some(),
        }
    }

    /// Whether a stop of this container is under way that Docker's source does not know of.
    pub(super) fn is_recalled(&self, container: &Container) -> bool {
        let stop = self.0.get(&container.id);
        stop.is_some_and(|stop| stop.until.is_some() && stop.begun.started_ms == container.started_ms)
    }

    /// Forgets all but those of these containers.
    pub(super) fn retain(&mut self, runs: impl Fn(&ContainerId) -> bool) {
        self.0.retain(|id, _| runs(id));
    }

    /// When [`Self::expired`] has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|stop| stop.until).min()
    }

    /// Forgets those that are believed in no longer, and gives their containers.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<ContainerId> {
        let is_over = |stop: &Stop| stop.until.is_some_and(|until| until <= now);
        let over: Vec<ContainerId> =
            self.0.iter().filter(|(_, stop)| is_over(stop)).map(|(id, _)| id.clone()).collect();
        self.0.retain(|_, stop| !is_over(stop));
        over
    }

    /// What is to be remembered.
    pub(super) fn begun(&self) -> HashMap<ContainerId, Begun> {
        self.0.iter().map(|(id, stop)| (id.clone(), stop.begun)).collect()
    }
}

#[cfg(test)]
mod tests;
