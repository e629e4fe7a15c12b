//! What happened: the end of an effect, or that time went by.

use std::sync::Arc;

use bottlerocket_settings::UpdateStatus;
use semver::Version;

use super::facts::{Facts, Failure};
use crate::update::banks::Banks;
use crate::update::fleet::Grant;
use crate::update::verify::{Baseline, Report};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Nothing, for as long as [`State::tick_after`](super::State::tick_after) says.
    Tick,
    /// [`Effect::Record`](super::Effect::Record) failed.
    NotRecorded {
        /// Why, for people.
        why: Arc<str>,
        /// Whether it was essential: what should have followed was not done.
        essential: bool,
    },
    /// [`Effect::Look`](super::Effect::Look)
    Looked(Result<Box<Facts>, Failure>),
    /// [`Effect::Refresh`](super::Effect::Refresh)
    Refreshed(Result<(), Failure>),
    /// [`Effect::Acquire`](super::Effect::Acquire)
    Granted(Result<Grant, Arc<str>>),
    /// [`Effect::Release`](super::Effect::Release)
    Released(Result<(), Arc<str>>),
    /// [`Effect::Prepare`](super::Effect::Prepare)
    Prepared(Result<Box<UpdateStatus>, Failure>),
    /// [`Effect::Measure`](super::Effect::Measure)
    Measured(Baseline),
    /// [`Effect::Count`](super::Effect::Count)
    Counted(Result<u64, Arc<str>>),
    /// [`Effect::Activate`](super::Effect::Activate)
    Activated(Result<Box<UpdateStatus>, Failure>),
    /// [`Effect::Deactivate`](super::Effect::Deactivate)
    Deactivated(Result<Box<UpdateStatus>, Failure>),
    /// [`Effect::Reboot`](super::Effect::Reboot) was accepted, or not.
    Rebooting(Result<(), Arc<str>>),
    /// [`Effect::Check`](super::Effect::Check)
    Checked(Report),
    /// [`Effect::RollBack`](super::Effect::RollBack); the banks as they are then.
    RolledBack(Result<Banks, Arc<str>>),
    /// [`Effect::Pin`](super::Effect::Pin)
    Pinned(Result<(), Arc<str>>),
    /// [`Effect::Rule`](super::Effect::Rule)
    Ruled(Version, Result<(), Arc<str>>),
    /// [`Effect::Report`](super::Effect::Report)
    Reported(Result<(), Arc<str>>),
    /// [`Effect::Reset`](super::Effect::Reset)
    BreakerReset(Result<(), Arc<str>>),
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
        }
    }

    /// What went wrong, for people.
    #[must_use]
    pub fn failure(&self) -> Option<&Arc<str>> {
        match self {
            Self::NotRecorded { why, .. } => Some(why),
            Self::Looked(Err(failure)) | Self::Refreshed(Err(failure)) => Some(&failure.why),
            Self::Prepared(Err(failure)) | Self::Activated(Err(failure)) | Self::Deactivated(Err(failure)) => {
                Some(&failure.why)
            }
            Self::Granted(Err(why)) | Self::Counted(Err(why)) | Self::RolledBack(Err(why)) => Some(why),
            Self::Released(Err(why)) | Self::Rebooting(Err(why)) | Self::Pinned(Err(why)) => Some(why),
            Self::Ruled(_, Err(why)) | Self::Reported(Err(why)) | Self::BreakerReset(Err(why)) => Some(why),
            _ => None,
        }
    }
}
