//! What happens to the update, and what is to be done for it.

use std::fmt;
use std::sync::Arc;

use bottlerocket_settings::UpdateStatus;
use jiff::Timestamp;
use semver::Version;

use super::state::{BootId, Record};
use crate::update::banks::Banks;
use crate::update::fleet::{Board, Grant, Outcome, Ruling};
use crate::update::verify::{Baseline, Report};

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

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Nothing, for as long as [`State::pause`](super::State::pause) says.
    Tick,
    /// [`Effect::Record`] failed.
    NotRecorded {
        /// Why, for people.
        why: Arc<str>,
        /// Whether it was essential: what should have followed was not done.
        essential: bool,
    },
    /// [`Effect::Look`]
    Looked(Result<Box<Facts>, Trouble>),
    /// [`Effect::Refresh`]
    Refreshed(Result<(), Trouble>),
    /// [`Effect::Acquire`]
    Granted(Result<Grant, Arc<str>>),
    /// [`Effect::Release`]
    Released(Result<(), Arc<str>>),
    /// [`Effect::Prepare`]
    Prepared(Result<Box<UpdateStatus>, Trouble>),
    /// [`Effect::Measure`]
    Measured(Baseline),
    /// [`Effect::Count`]
    Counted(Result<u64, Arc<str>>),
    /// [`Effect::Activate`]
    Activated(Result<Box<UpdateStatus>, Trouble>),
    /// [`Effect::Deactivate`]
    Deactivated(Result<Box<UpdateStatus>, Trouble>),
    /// [`Effect::Reboot`] was accepted, or not.
    Rebooting(Result<(), Arc<str>>),
    /// [`Effect::Check`]
    Checked(Report),
    /// [`Effect::RollBack`]; the banks as they are then.
    RolledBack(Result<Banks, Arc<str>>),
    /// [`Effect::Pin`]
    Pinned(Result<(), Arc<str>>),
    /// [`Effect::Rule`]
    Ruled(Version, Result<(), Arc<str>>),
    /// [`Effect::Report`]
    Reported(Result<(), Arc<str>>),
    /// [`Effect::Reset`]
    BreakerReset(Result<(), Arc<str>>),
    /// A person wants no update to begin.
    Hold(Arc<str>),
    /// A person wants updates to go on.
    Resume,
    /// A person allows a version again.
    Allow(Version),
    /// A person wants updates to be looked for now.
    Check,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For people.
    pub why: Arc<str>,
    /// Whether it never will on this host.
    pub unsupported: bool,
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

impl Event {
    /// The event's name in the diagram and in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::NotRecorded { .. } => "not recorded",
            Self::Looked(Ok(_)) => "looked",
            Self::Looked(Err(_)) => "look failed",
            Self::Refreshed(_) => "refreshed",
            Self::Granted(Ok(Grant::Granted)) => "granted",
            Self::Granted(Ok(Grant::Refused(_))) => "not granted",
            Self::Granted(Err(_)) => "asking failed",
            Self::Released(_) => "released",
            Self::Prepared(Ok(_)) => "prepared",
            Self::Prepared(Err(_)) => "prepare failed",
            Self::Measured(_) => "measured",
            Self::Counted(_) => "counted",
            Self::Activated(Ok(_)) => "activated",
            Self::Activated(Err(_)) => "activate failed",
            Self::Deactivated(Ok(_)) => "deactivated",
            Self::Deactivated(Err(_)) => "deactivate failed",
            Self::Rebooting(Ok(())) => "reboot accepted",
            Self::Rebooting(Err(_)) => "reboot refused",
            Self::Checked(_) => "checked",
            Self::RolledBack(Ok(_)) => "rolled back",
            Self::RolledBack(Err(_)) => "rollback failed",
            Self::Pinned(_) => "pinned",
            Self::Ruled(..) => "ruled",
            Self::Reported(_) => "reported",
            Self::BreakerReset(_) => "breaker reset",
            Self::Hold(_) => "hold",
            Self::Resume => "resume",
            Self::Allow(_) => "allow",
            Self::Check => "check",
        }
    }
}

impl Event {
    /// What went wrong, for people.
    #[must_use]
    pub fn trouble(&self) -> Option<&Arc<str>> {
        match self {
            Self::NotRecorded { why, .. } => Some(why),
            Self::Looked(Err(trouble)) | Self::Refreshed(Err(trouble)) => Some(&trouble.why),
            Self::Prepared(Err(trouble)) | Self::Activated(Err(trouble)) | Self::Deactivated(Err(trouble)) => {
                Some(&trouble.why)
            }
            Self::Granted(Err(why)) | Self::Counted(Err(why)) | Self::RolledBack(Err(why)) => Some(why),
            Self::Released(Err(why)) | Self::Rebooting(Err(why)) | Self::Pinned(Err(why)) => Some(why),
            Self::Ruled(_, Err(why)) | Self::Reported(Err(why)) | Self::BreakerReset(Err(why)) => Some(why),
            _ => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
