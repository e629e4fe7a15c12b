//! Where the update stands, and what of it outlives restarts and reboots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::UpdateSettings;
use crate::update::banks::Bank;
use crate::update::fleet::{Outcome, Ruling};
use crate::update::verify::{Baseline, Report};

/// One boot of the host: `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub Arc<str>);

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
    /// Where the update stands.
    pub phase: Phase,
    /// Whether the journal on disk is as it should be.
    pub recorded: bool,
    /// The words that the fleet is being told, by when they were said: a newer one has yet to be told.
    pub telling: BTreeMap<Version, Timestamp>,
}

/// Where the update stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// The agent has just started. Whether an update was under way is known, how it ended is not.
    Starting(Option<(Intent, Stage)>),
    /// This host cannot be updated in place; why, for people.
    Unsupported(Arc<str>),
    /// No update is under way.
    Resting(Rest),
    /// The fleet is asked whether it is this node's turn.
    Locking {
        /// What would be updated.
        intent: Intent,
        /// What is known of it from the rest before.
        rest: Rest,
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
pub struct Rest {
    /// Why nothing happens, for people; absent until the host was looked at.
    pub why: Option<Why>,
    /// The version that the host would take.
    pub chosen: Option<Version>,
    /// When the host last looked for updates, since boot.
    pub refreshed: Option<Duration>,
    /// The same by the wall's clock, for people.
    pub refreshed_at: Option<Timestamp>,
    /// Whether the lock was surely given back. It is given back once after every start and every update.
    pub released: bool,
    /// The last thing that went wrong between updates, for people.
    pub trouble: Option<Arc<str>>,
}

/// Why a node rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
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
    /// The host was asked to reboot.
    Rebooting {
        /// Into which bank's version: back to the old one?
        back: bool,
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
        trouble: Option<Arc<str>>,
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
        trouble: Option<Arc<str>>,
    },
}

/// An update that was decided on. It is in the journal before anything is done for it, until it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The version that ran.
    pub from: Version,
    /// The version to be run.
    pub to: Version,
    /// The bank that ran `from`.
    pub bank: Bank,
    /// The boot in which it was decided.
    pub boot: BootId,
    /// When.
    pub begun: Timestamp,
    /// How the workloads did before.
    #[serde(default)]
    pub baseline: Baseline,
    /// What a newer agent wrote here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far an update is, as far as it matters after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing that the next boot would notice.
    Preparing,
    /// The next boot may take the other bank.
    Activating,
    /// The new version was booted and is judged.
    Verifying {
        /// In this boot.
        boot: BootId,
        /// So many boots have been judged, this one included.
        boots: u32,
        /// Since when, since that boot.
        since: Duration,
    },
    /// It was found bad; the next boot may take the old bank again.
    RollingBack,
    /// A word of a newer agent: how far it was is told by the banks.
    #[serde(other)]
    Unknown,
}

/// What is kept on disk: enough to go on from after a power cut at any moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What outlives updates.
    #[serde(flatten)]
    pub memory: Memory,
    /// The update under way.
    #[serde(default)]
    pub update: Option<Underway>,
}

/// The update under way, in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Underway {
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
    /// What is to be done.
    pub intent: Intent,
}

/// What outlives reboots. Every field may be missing in what an older agent wrote; what a newer one wrote is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The version that ran when the host was last looked at.
    pub running: Option<Version>,
    /// When each version on offer was first seen.
    pub seen: BTreeMap<Version, Timestamp>,
    /// The newest word about each version: refused, or allowed again.
    pub rulings: BTreeMap<Version, Ruling>,
    /// Those of them that the fleet has yet to be told.
    pub untold: BTreeSet<Version>,
    /// How the last update ended, as long as the fleet has yet to be told.
    pub outcome: Option<Outcome>,
    /// When a person last said resume, as long as the fleet has yet to be told.
    pub reset: Option<Timestamp>,
    /// Updates that were taken back since a person last said resume.
    pub rollbacks: u32,
    /// Why no update may begin, until a person says resume.
    pub held: Option<Held>,
    /// The value that `settings.updates.version-lock` is kept at after a rollback.
    pub pin: Option<Pin>,
    /// This agent's own last command to the host's updater, by which others' are told from it.
    pub own: Option<OwnCommand>,
    /// The last attempt, if it came to nothing.
    pub retry: Option<Retry>,
    /// A bank that failed to boot, and nobody knows what was in it: said once.
    pub unexplained: bool,
    /// The last verdict.
    pub verdict: Option<Verdict>,
    /// The last updates, oldest first.
    pub history: Vec<Past>,
    /// What a newer agent wrote here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Updates are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Why, for people.
    pub why: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

/// Other updaters know nothing of refused versions, but all of them go by `settings.updates.version-lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What it is set to.
    pub to: Version,
    /// What it was; the host cannot unset a setting, so nothing is written as the host's default, `latest`.
    pub before: String,
    /// Whether it was seen to be set.
    pub set: bool,
    /// Whether `before` is to be put back.
    pub lift: bool,
}

/// A command that this agent gave to the host's updater.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCommand {
    /// In which boot.
    pub boot: BootId,
    /// When it ended, as the host said; absent while that is not known.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// What it left in the other bank.
    pub staged: Version,
}

/// When to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// What was tried.
    pub version: Version,
    /// How often it came to nothing.
    pub attempts: u32,
    /// Not before.
    pub at: Timestamp,
    /// Why it came to nothing, for people.
    pub why: Arc<str>,
}

/// Whether a version was found good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The version.
    pub version: Version,
    /// Whether it was.
    pub good: bool,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub why: Arc<str>,
    /// The last look at every check.
    #[serde(default)]
    pub report: Report,
}

/// An update that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it ended.
    pub at: Timestamp,
    /// From.
    pub from: Version,
    /// To.
    pub to: Version,
    /// How.
    pub end: End,
    /// Why, for people.
    pub why: Arc<str>,
}

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The new version runs and was found good.
    Good,
    /// The new version never got through its first boot; the firmware took the old bank.
    FellBack,
    /// The new version was found bad and this agent took it back.
    RolledBack,
    /// The new version was taken back by somebody else.
    TakenBack,
    /// The new version was found bad, but could not or must not be taken back.
    Kept,
    /// Called off, or cut short, before its reboot.
    Withdrawn,
    /// Updates were turned off in the middle: nobody judged.
    Unjudged,
    /// Somebody else changed what runs.
    Foreign,
}

impl End {
    /// Every end, in the order of the metric's documentation.
    pub const ALL: [Self; 8] = [
        Self::Good,
        Self::FellBack,
        Self::RolledBack,
        Self::TakenBack,
        Self::Kept,
        Self::Withdrawn,
        Self::Unjudged,
        Self::Foreign,
    ];

    /// The end's word in status and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::FellBack => "fell-back",
            Self::RolledBack => "rolled-back",
            Self::TakenBack => "taken-back",
            Self::Kept => "kept",
            Self::Withdrawn => "withdrawn",
            Self::Unjudged => "unjudged",
            Self::Foreign => "foreign",
        }
    }
}

impl Pin {
    /// Whether this value of `version-lock` keeps the host where the pin wants it.
    pub(super) fn keeps(&self, lock: &str) -> bool {
        lock.trim_start_matches('v') == self.to.to_string()
    }
}

impl State {
    /// The state of an agent that has just started, from what the journal held.
    #[must_use]
    pub fn new(settings: Arc<UpdateSettings>, node: Arc<str>, record: Record) -> Self {
        let phase = Phase::Starting(record.update.map(|underway| (underway.intent, underway.stage)));
        Self { settings, node, memory: record.memory, phase, recorded: true, telling: BTreeMap::new() }
    }

    /// What belongs on disk.
    #[must_use]
    pub fn record(&self) -> Record {
        let update = match &self.phase {
            Phase::Starting(Some((intent, stage))) => Some((intent, stage.clone())),
            Phase::Updating { intent, step } => Some((intent, Stage::from(step))),
            Phase::Starting(None) | Phase::Unsupported(_) | Phase::Resting(_) | Phase::Locking { .. } => None,
        };
        let update = update.map(|(intent, stage)| Underway { intent: intent.clone(), stage });
        Record { memory: self.memory.clone(), update }
    }
}

impl From<&Step> for Stage {
    fn from(step: &Step) -> Self {
        match step {
            Step::Preparing | Step::Measuring | Step::Draining { .. } => Self::Preparing,
            Step::Withdrawing { activated: false, .. } => Self::Preparing,
            // As long as it is not surely undone, the next boot may take the other bank.
            Step::Withdrawing { activated: true, .. } => Self::Activating,
            Step::Activating | Step::Rebooting { back: false, .. } => Self::Activating,
            Step::Verifying { boot, boots, since, .. } => {
                Self::Verifying { boot: boot.clone(), boots: *boots, since: *since }
            }
            Step::RollingBack { .. } | Step::Rebooting { back: true, .. } => Self::RollingBack,
        }
    }
}
