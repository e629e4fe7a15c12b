//! What the host says of its updates, and the actions that move them.
//!
//! Source of all of it: core-kit `sources/api/thar-be-updates/src/{main,status}.rs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Route, one_line};
use crate::word::words;

/// `GET /updates/status`. Lost with every reboot: the host keeps it on a tmpfs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// How far the update is.
    pub update_state: UpdateState,
    /// Versions on offer at the last refresh, in the host's order; may be stale after a failed refresh.
    #[serde(default)]
    pub available_updates: Vec<String>,
    /// The version that a prepare would write. A later refresh may change or lose it.
    #[serde(default)]
    pub chosen_update: Option<Image>,
    /// The bank that runs, as it was when the status was first initialised.
    #[serde(default)]
    pub active_partition: Option<Partition>,
    /// The other bank, once a prepare wrote it.
    #[serde(default)]
    pub staging_partition: Option<Partition>,
    /// How the last finished action went.
    #[serde(default)]
    pub most_recent_command: Option<Command>,
    /// Fields that this model does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

words! {
    /// How far an update is.
    UpdateState {
        /// `Idle`: nothing chosen.
        Idle = "Idle",
        /// `Available`: a version is chosen.
        Available = "Available",
        /// `Staged`: it is written to the other bank.
        Staged = "Staged",
        /// `Ready`: the next boot takes that bank.
        Ready = "Ready",
    }
}

/// An image of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Such as `x86_64`.
    pub arch: String,
    /// A semantic version.
    pub version: String,
    /// Such as `aws-ecs-2`.
    pub variant: String,
}

/// A bank, as the update status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What it holds.
    pub image: Image,
    /// Whether the next boot takes it. A snapshot: `signpost` run by others does not show here.
    pub next_to_boot: bool,
}

/// How an action went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which action.
    pub cmd_type: CommandKind,
    /// How it ended. Success may be false: an action whose configuration could not be read counts as one, with the
    /// state unchanged, so the state must be looked at too.
    pub cmd_status: CommandOutcome,
    /// When it ended (RFC 3339, nanoseconds). That it differs from before is the only sign that an action is over.
    pub timestamp: String,
    /// The program's exit status; the signal's number if one ended it.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// What the program wrote to its standard error.
    #[serde(default)]
    pub stderr: Option<String>,
}

impl Command {
    /// [`Self::stderr`] on one line, at most [`MAX_TEXT`](crate::MAX_TEXT) bytes.
    #[must_use]
    pub fn stderr_line(&self) -> String {
        one_line(self.stderr.as_deref().unwrap_or_default().as_bytes())
    }
}

words! {
    /// An action's name in the status.
    CommandKind {
        /// `refresh`
        Refresh = "refresh",
        /// `prepare`
        Prepare = "prepare",
        /// `activate`
        Activate = "activate",
        /// `deactivate`
        Deactivate = "deactivate",
    }
}

words! {
    /// How an action ended.
    CommandOutcome {
        /// `Success`
        Success = "Success",
        /// `Failed`
        Failed = "Failed",
        /// `Unknown`
        Unknown = "Unknown",
    }
}

/// What can be asked of the host's updater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateAction {
    /// Look for versions and choose one. Allowed in every state.
    Refresh,
    /// Write the chosen version to the other bank; also clears that bank first. In `Available` and `Staged`.
    Prepare,
    /// Let the next boot take the other bank. In `Staged`.
    Activate,
    /// Undo an activate of this boot. In `Ready`.
    Deactivate,
}

impl UpdateAction {
    /// The action's name in [`Command::cmd_type`], by which a poller knows that its own action is over.
    #[must_use]
    pub fn kind(self) -> CommandKind {
        match self {
            Self::Refresh => CommandKind::Refresh,
            Self::Prepare => CommandKind::Prepare,
            Self::Activate => CommandKind::Activate,
            Self::Deactivate => CommandKind::Deactivate,
        }
    }

    pub(crate) fn route(self) -> Route {
        match self {
            Self::Refresh => Route::post("/actions/refresh-updates"),
            Self::Prepare => Route::post("/actions/prepare-update"),
            Self::Activate => Route::post("/actions/activate-update"),
            Self::Deactivate => Route::post("/actions/deactivate-update"),
        }
    }
}

#[cfg(test)]
mod tests;
