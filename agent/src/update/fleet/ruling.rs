//! What nodes of a fleet tell each other, and what asking for a turn comes to. Plain data.

use std::sync::Arc;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

/// What the fleet, or this node, holds of a version. The newest word about a version counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Whether the version is refused; else it was refused, and is allowed again.
    pub refused: bool,
    /// When that was said.
    pub at: Timestamp,
    /// The node that said so.
    pub by: Arc<str>,
    /// Why, for people.
    pub why: Arc<str>,
}

/// How an update ended on a node, for the others to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The version that was tried.
    pub version: Version,
    /// Whether it was kept; else it was taken back, by meshdog or by the firmware.
    pub good: bool,
    /// When.
    pub at: Timestamp,
}

/// What asking for the fleet's lock comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// It is this node's turn; stays so, over reboots, until it is given back.
    Granted,
    /// Not now; why, for people.
    Refused(Arc<str>),
}
