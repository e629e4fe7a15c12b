//! Where the update is, and all that the machine goes by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use super::phase::Phase;
use super::record::{BootId, Checkpoint, Intent, Memory, Record, Underway};
use crate::config::UpdateSettings;
use crate::config::update::UpdateMode;
use crate::update::verify::Report;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall's: for windows, delays and what people read. It may jump.
    pub wall: Timestamp,
    /// Time since the host booted: for deadlines. It never jumps, and goes on while the agent restarts.
    pub boot: Duration,
}

/// Everything that [`step`](super::step) goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What the operator asks for.
    pub settings: Arc<UpdateSettings>,
    /// This node's name in the fleet.
    pub node: Arc<str>,
    /// What outlives reboots, but for an update under way.
    pub memory: Memory,
    /// Where the update is.
    pub progress: Progress,
    /// Whether the journal on disk is as it should be.
    pub recorded: bool,
    /// The words that the fleet is being told, by when they were said: a newer one has yet to be told.
    pub telling: BTreeMap<Version, Timestamp>,
}

/// Where the update is. [`ProgressKind`](super::ProgressKind) is the same without the particulars.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The agent has just started. Whether an update was under way is known, how it ended is not.
    Starting(Option<Underway>),
    /// This host cannot be updated in place; why, for people.
    Unsupported(Arc<str>),
    /// No update is under way.
    Standby(Standby),
    /// The fleet is asked whether it is this node's turn.
    Locking {
        /// What would be updated.
        intent: Intent,
        /// What was known before, for the way back.
        standby: Standby,
    },
    /// An update is under way. It is in the journal.
    Updating {
        /// What is to be done.
        intent: Intent,
        /// How far it is.
        step: Step,
    },
}

/// Between updates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standby {
    /// Why no update begins; absent until the host was looked at.
    pub reason: Option<Reason>,
    /// The version that the host would take.
    pub chosen: Option<Version>,
    /// When the host last looked for updates, since boot.
    pub refreshed: Option<Duration>,
    /// The same by the wall's clock, for people.
    pub refreshed_at: Option<Timestamp>,
    /// Whether the lock was surely given back. It is given back once after every start and every update.
    pub released: bool,
    /// The last thing that went wrong between updates, for people.
    pub failure: Option<Arc<str>>,
}

/// Why no update begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// There is nothing to do.
    Idle(Arc<str>),
    /// It waits, if known until when.
    Waiting(Arc<str>, Option<Timestamp>),
}

/// How far an update is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The host writes the image to the other bank.
    Preparing,
    /// How the workloads do is measured, to compare with later.
    Measuring,
    /// This node's endpoints are out of every slot; the connections that they have are waited for.
    Draining {
        /// Since when, since boot.
        since: Duration,
        /// How many connections are left; absent until counted.
        left: Option<u64>,
    },
    /// The next boot is told to take the other bank.
    Activating,
    /// The host was asked to reboot into the new version.
    Rebooting {
        /// How often it was asked.
        asked: u32,
    },
    /// The update is called off before its reboot.
    Withdrawing {
        /// Why.
        why: Arc<str>,
        /// Whether this agent may have told the boot loader of it.
        activated: bool,
        /// What stood in the way at the last attempt, for people.
        failure: Option<Arc<str>>,
    },
    /// The new version runs and is judged.
    Verifying {
        /// The boot that is judged.
        boot: BootId,
        /// How many boots have been, this one included.
        boots: u32,
        /// When judging began, since boot.
        since: Duration,
        /// Since when every check holds.
        settled: Option<Duration>,
        /// The last look at every check.
        report: Option<Report>,
    },
    /// The new version was found bad; the next boot is told to take the old bank.
    RollingBack {
        /// How often that has failed.
        failed: u32,
        /// The last failure, for people.
        failure: Option<Arc<str>>,
    },
    /// The host was asked to reboot back into the old version.
    RebootingBack {
        /// How often it was asked.
        asked: u32,
    },
}

impl State {
    /// The state of an agent that has just started, from what the journal held.
    #[must_use]
    pub fn new(settings: Arc<UpdateSettings>, node: Arc<str>, record: Record) -> Self {
        let progress = Progress::Starting(record.update);
        Self { settings, node, memory: record.memory, progress, recorded: true, telling: BTreeMap::new() }
    }

    /// What belongs on disk.
    #[must_use]
    pub fn record(&self) -> Record {
        let update = match &self.progress {
            Progress::Starting(underway) => underway.clone(),
            Progress::Updating { intent, step } => Some(Underway { stage: step.checkpoint(), intent: intent.clone() }),
            Progress::Unsupported(_) | Progress::Standby(_) | Progress::Locking { .. } => None,
        };
        Record { memory: self.memory.clone(), update }
    }

    /// The phase that people see. Until the host was first looked at, it is the one that the journal recorded.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.progress {
            Progress::Starting(Some(underway)) => match underway.stage {
                Checkpoint::Preparing => Phase::Waiting,
                Checkpoint::Activating | Checkpoint::Verifying { .. } | Checkpoint::Unknown => Phase::Verifying,
                Checkpoint::RollingBack => Phase::RollingBack,
            },
            Progress::Unsupported(_) => Phase::Unsupported,
            Progress::Starting(None) | Progress::Standby(_) if self.settings.mode == UpdateMode::Off => Phase::Off,
            Progress::Standby(_) if self.memory.held.is_some() => Phase::Held,
            Progress::Starting(None) | Progress::Standby(Standby { reason: None | Some(Reason::Idle(_)), .. }) => {
                Phase::Idle
            }
            Progress::Standby(Standby { reason: Some(Reason::Waiting(..)), .. }) | Progress::Locking { .. } => {
                Phase::Waiting
            }
            Progress::Updating { step, .. } => step.phase(),
        }
    }
}

impl Step {
    /// The phase that it belongs to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Preparing | Self::Measuring => Phase::Preparing,
            Self::Draining { .. } => Phase::Draining,
            Self::Activating => Phase::Activating,
            Self::Rebooting { .. } => Phase::Rebooting,
            Self::Withdrawing { .. } => Phase::Waiting,
            Self::Verifying { .. } => Phase::Verifying,
            Self::RollingBack { .. } | Self::RebootingBack { .. } => Phase::RollingBack,
        }
    }

    /// What a restart has to know of it.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        match self {
            Self::Preparing | Self::Measuring | Self::Draining { .. } => Checkpoint::Preparing,
            Self::Withdrawing { activated: false, .. } => Checkpoint::Preparing,
            // As long as it is not surely undone, the next boot may take the other bank.
            Self::Withdrawing { activated: true, .. } => Checkpoint::Activating,
            Self::Activating | Self::Rebooting { .. } => Checkpoint::Activating,
            Self::Verifying { boot, boots, since, .. } => {
                Checkpoint::Verifying { boot: boot.clone(), boots: *boots, since: *since }
            }
            Self::RollingBack { .. } | Self::RebootingBack { .. } => Checkpoint::RollingBack,
        }
    }
}
