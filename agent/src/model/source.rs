//! The state of a source the agent depends on: Docker, the host's API, the registry, the ECS agent.

use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use super::error_chain::error_chain;

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// Not asked yet.
    Starting,
    /// Answers.
    Up,
    /// Does not answer; why, for people.
    Down(Arc<str>),
    /// Not used on this node.
    Off,
}

impl SourceState {
    /// Down because of this error.
    #[must_use]
    pub fn down(error: &dyn Error) -> Self {
        Self::Down(error_chain(error).into())
    }

    /// The state's word in status.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down(_) => "down",
            Self::Off => "off",
        }
    }
}

/// A source's state and since when it has held. Published by the task that owns the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The state.
    pub state: SourceState,
    /// When it was entered.
    pub since: SystemTime,
}

impl Source {
    /// A source that has not been asked yet.
    #[must_use]
    pub fn starting() -> Self {
        Self { state: SourceState::Starting, since: SystemTime::now() }
    }

    /// Enters a state; `since` moves only when the kind of state changes. True when it did: the moment to log.
    pub fn enter(&mut self, state: SourceState) -> bool {
        let changed = self.state.as_str() != state.as_str();
        if changed {
            self.since = SystemTime::now();
        }
        self.state = state;
        changed
    }
}
