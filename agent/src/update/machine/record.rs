//! What the journal holds: enough to go on from after a power cut at any moment.
//!
//! Its words are those of every release: each field may be missing, a word that is not known is read as
//! [`Checkpoint::Unknown`], and what a newer agent wrote is kept. So nothing here is renamed or taken away; the tests
//! hold it to journals as earlier releases wrote them, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::update::banks::Bank;
use crate::update::fleet::{Outcome, Ruling};
use crate::update::verify::{Baseline, Report};

/// One boot of the host: `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub Arc<str>);

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
    pub unknown: Map<String, Value>,
}

/// How far an update is, as far as it matters after a restart: the [`Phase`](super::Phase) that a restart finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Checkpoint {
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
    pub stage: Checkpoint,
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
    pub held: Option<Hold>,
    /// The value that `settings.updates.version-lock` is kept at after a rollback.
    pub pin: Option<VersionPin>,
    /// This agent's own last command to the host's updater, by which others' are told from it.
    pub own: Option<OwnCommand>,
    /// The last attempt, if it came to nothing.
    pub retry: Option<Retry>,
    /// A bank that failed to boot, and nobody knows what was in it: said once.
    pub unexplained: bool,
    /// The last verdict.
    pub verdict: Option<Verdict>,
    /// The last updates, oldest first.
    pub history: Vec<PastUpdate>,
    /// What a newer agent wrote here.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Updates are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why, for people.
    pub why: Arc<str>,
    /// Since when.
    pub since: Timestamp,
}

/// Other updaters know nothing of refused versions, but all of them go by `settings.updates.version-lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionPin {
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
pub struct PastUpdate {
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

impl VersionPin {
    /// Whether this value of `version-lock` keeps the host where the pin wants it.
    pub(in crate::update) fn keeps(&self, lock: &str) -> bool {
        lock.trim_start_matches('v') == self.to.to_string()
    }
}

#[cfg(test)]
pub(super) mod tests;
