//! How the host and the fleet are at one moment, as far as they could be looked at.

use std::fmt;
use std::sync::Arc;

use bottlerocket_settings::UpdateStatus;
use semver::Version;

use super::record::BootId;
use crate::update::banks::Banks;
use crate::update::fleet::Board;

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub why: Arc<str>,
    /// Whether it never will on this host.
    pub unsupported: bool,
    /// Whether the host's updater was at work for somebody else, which passes.
    pub busy: bool,
    /// What is known all the same: where the host's API is dead, signpost may not be.
    pub partial: Option<PartialFacts>,
}

/// What is known of a host whose API does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialFacts {
    /// This boot.
    pub boot: BootId,
    /// Both banks.
    pub banks: Banks,
}

/// How the host and the fleet are at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// This boot.
    pub boot: BootId,
    /// The version that runs.
    pub running: Version,
    /// The host's updater; `None` before it was first asked for anything in this boot.
    pub updates: Option<UpdateStatus>,
    /// Both banks.
    pub banks: Banks,
    /// `settings.updates.version-lock`.
    pub version_lock: Option<String>,
    /// `settings.updates.seed`, 0 to 2047.
    pub seed: Option<u32>,
    /// What the fleet says.
    pub board: Result<Board, Arc<str>>,
    /// Whether the agent is whole, so that it could judge an update; else what is missing.
    pub ready: Result<(), Arc<str>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
