//! What can become of an action that the host's updater was asked for.

use std::time::Duration;

use bottlerocket_settings::{CommandKind, Error, UpdateAction, UpdateState};

/// Why the host did not do, or is not known to have done, what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The host API: away, or it refused for a reason of its own.
    #[error(transparent)]
    Api(#[from] Error),
    /// The host has no updater that works on its disk.
    #[error("this host takes no updates in place; replace it with one of a newer image")]
    Unsupported(#[source] Error),
    /// The action is not for the state that the update is in. The host did nothing.
    #[error("the host's update is not in a state to {}; look again, somebody else may drive it", action.kind())]
    WrongState {
        /// What was asked for.
        action: UpdateAction,
        /// The refusal.
        source: Error,
    },
    /// The version that was chosen, or the image that was staged, is not there any more. The host did nothing.
    #[error("there is nothing left for the host to {}; refresh, then prepare", action.kind())]
    Gone {
        /// What was asked for.
        action: UpdateAction,
        /// The refusal.
        source: Error,
    },
    /// It ended, and failed.
    #[error(
        "the host's updater failed to {} (exit status {}): {stderr}",
        action.kind(),
        exit_status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
    )]
    Failed {
        /// What was asked for.
        action: UpdateAction,
        /// The exit status of the program, or the number of the signal that ended it.
        exit_status: Option<i32>,
        /// What it wrote to its standard error: one line, bounded.
        stderr: String,
    },
    /// It ended, is called a success, and did not do what it is for.
    #[error(
        "the host's updater calls {} a success, and left its update {state} as it was; look into the host's journal",
        action.kind()
    )]
    FalseSuccess {
        /// What was asked for.
        action: UpdateAction,
        /// The state afterwards.
        state: UpdateState,
    },
    /// Another action ended instead.
    #[error("somebody else drives the host's updater: it did {found} while {} was waited for", action.kind())]
    Foreign {
        /// What was asked for.
        action: UpdateAction,
        /// What ended.
        found: CommandKind,
    },
    /// It was accepted, and never heard of again: its program could not start, or was killed.
    #[error("the host left no trace of {} in {waited:?}; look into the host's journal", action.kind())]
    NoTrace {
        /// What was asked for.
        action: UpdateAction,
        /// For how long the host was asked.
        waited: Duration,
    },
    /// It was accepted, and how it ended could not be found out; it may be under way still.
    #[error("cannot tell after {waited:?} how {} ended on the host", action.kind())]
    Unknown {
        /// What was asked for.
        action: UpdateAction,
        /// For how long the host was asked.
        waited: Duration,
        /// Its last answer.
        source: Error,
    },
    /// What the host says of the version that runs is none.
    #[error("the host says that it runs version {found:?}")]
    Version {
        /// What it says.
        found: String,
        /// What is wrong with it.
        source: semver::Error,
    },
    /// The host took the version lock, and has another one.
    #[error(
        "settings.updates.version-lock is {} after it was set to {wanted:?}; somebody else sets it too",
        found.as_ref().map_or_else(|| "absent".to_owned(), |found| format!("{found:?}"))
    )]
    Lock {
        /// What was set.
        wanted: String,
        /// What is there.
        found: Option<String>,
    },
}

impl HostError {
    /// The updater is at work, for this agent or somebody else; try again later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.api().is_some_and(Error::is_busy)
    }

    /// There was no answer, and it is unknown what the host did.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        self.api().is_some_and(Error::is_no_answer)
    }

    /// The update is not in a state for the action: look again, and decide anew.
    #[must_use]
    pub fn is_wrong_state(&self) -> bool {
        matches!(self, Self::WrongState { .. })
    }

    /// What the action is about is gone: refresh, and decide anew.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// This host takes no updates in place. The few hosts that only cannot at present answer alike, so ask again now and
    /// then.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }

    /// Somebody else drives the updater.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }

    fn api(&self) -> Option<&Error> {
        match self {
            Self::Api(error) | Self::Unknown { source: error, .. } => Some(error),
            _ => None,
        }
    }
}
