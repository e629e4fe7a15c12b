//! What is to be done for an update.

use jiff::Timestamp;
use semver::Version;

use super::record::Record;
use crate::update::fleet::{Outcome, Ruling};
use crate::update::verify::Baseline;

/// What can be done for an update. All but [`Self::Record`] end with one event each; they are done in order, one at a
/// time.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the journal and see that it is on the disk. Ends with an event only where it fails; where it is
    /// `essential`, nothing after it is done then.
    Record {
        /// What to write.
        record: Box<Record>,
        /// Whether what follows must not happen without it.
        essential: bool,
    },
    /// Look at the host, its banks and the fleet's board; changes nothing.
    Look,
    /// Let the host look for updates.
    Refresh,
    /// Ask the fleet for its lock.
    Acquire,
    /// Give it back, whether it is held or not.
    Release,
    /// Let the host write the chosen version to the other bank.
    Prepare,
    /// See how the workloads do before the update.
    Measure,
    /// Count the connections that this node's endpoints have left.
    Count,
    /// Let the next boot take the other bank.
    Activate,
    /// Undo that.
    Deactivate,
    /// Reboot the host.
    Reboot,
    /// See how the workloads do now.
    Check(Baseline),
    /// Let the next boot take the old bank again.
    RollBack,
    /// Set `settings.updates.version-lock`.
    Pin(String),
    /// Tell the fleet about a version.
    Rule(Version, Ruling),
    /// Tell the fleet how this node's update ended.
    Report(Outcome),
    /// Tell the fleet that what happened before no longer counts against a rollout.
    Reset(Timestamp),
}

impl Effect {
    /// The effect's name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record { .. } => "record",
            Self::Look => "look",
            Self::Refresh => "refresh",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Prepare => "prepare",
            Self::Measure => "measure",
            Self::Count => "count",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Reboot => "reboot",
            Self::Check(_) => "check",
            Self::RollBack => "roll back",
            Self::Pin(_) => "pin",
            Self::Rule(..) => "rule",
            Self::Report(_) => "report",
            Self::Reset(_) => "reset",
        }
    }
}
