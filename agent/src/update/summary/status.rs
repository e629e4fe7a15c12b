//! The update as one object of the status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::config::update::UpdateMode;
use crate::update::machine::{
    Checkpoint, Hold, Intent, Now, PastUpdate, Progress, Reason, Retry, Standby, State, Step, Underway, Verdict,
    VersionPin, policy,
};
use crate::update::verify::{Check, Report};

/// The node's own update. What there is nothing to say about is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// The word of its [`Phase`](crate::update::machine::Phase).
    pub phase: Arc<str>,
    /// The OS version that runs, where the host has said so.
    pub running: Option<Arc<str>>,
    /// The version that the host would take.
    pub chosen: Option<Version>,
    /// Versions that this node will not take.
    pub refused: Vec<Version>,
    /// Why it is there, for people.
    pub why: Arc<str>,
    /// When that ends, if that is known: by then a drain is over, a verdict is there, or what is waited for has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the host is being looked at: phase and reason are about to be known anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub looking: bool,
    /// The version that the update under way is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The version that it is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// The connections that this node's endpoints have left while they drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The last look at every check while a version is verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The last verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictStatus>,
    /// Why no update begins until a person says resume, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Hold>,
    /// Why each version is refused that this node or another found bad.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// Updates that were taken back since a person last said resume.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollbacks: u32,
    /// The last attempt, if it came to nothing, and when it may be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where a rollback keeps the host's `version-lock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_lock: Option<Lock>,
    /// When the host last looked for updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// What last went wrong beside that, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Arc<str>>,
    /// The last updates, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastUpdate>,
}

/// Whether a version was found good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// The version.
    pub version: Version,
    /// Whether it was.
    pub good: bool,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub why: Arc<str>,
    /// The last look at every check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// A version that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The version.
    pub version: Version,
    /// Why, for people.
    pub why: Arc<str>,
    /// The node that said so.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// `settings.updates.version-lock` after a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What it is kept at.
    pub to: Version,
    /// What it was before, and will be again.
    pub before: Arc<str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The update at this moment.
#[must_use]
pub fn status(state: &State, now: Now) -> UpdateStatus {
    let memory = &state.memory;
    let standby = match &state.progress {
        Progress::Standby(standby) | Progress::Locking { standby, .. } => Some(standby),
        Progress::Starting(_) | Progress::Unsupported(_) | Progress::Updating { .. } => None,
    };
    let intent = intent(&state.progress);
    let refusals = memory.rulings.iter().filter(|(_, ruling)| ruling.refused);
    UpdateStatus {
        phase: state.phase().as_str().into(),
        running: running(state).map(|running| running.to_string().into()),
        chosen: chosen(state),
        refused: refused(state).into_iter().cloned().collect(),
        why: why(state),
        until: until(state, now),
        looking: looking(state),
        from: intent.map(|intent| intent.from.clone()),
        to: intent.map(|intent| intent.to.clone()),
        connections: connections(state),
        checks: report(state).map(|report| report.checks.clone()).unwrap_or_default(),
        verdict: memory.verdict.as_ref().map(VerdictStatus::from),
        held: memory.held.clone(),
        refusals: refusals
            .map(|(version, ruling)| Refusal {
                version: version.clone(),
                why: ruling.why.clone(),
                by: ruling.by.clone(),
                at: ruling.at,
            })
            .collect(),
        rollbacks: memory.rollbacks,
        retry: memory.retry.clone(),
        version_lock: memory.pin.as_ref().map(Lock::from),
        checked_at: standby.and_then(|standby| standby.refreshed_at),
        trouble: trouble(state),
        history: memory.history.clone(),
    }
}

/// Whether the host is being looked at, so that where the update is will be known anew soon.
#[must_use]
pub fn looking(state: &State) -> bool {
    matches!(state.progress, Progress::Starting(_) | Progress::Standby(Standby { reason: None, .. }))
}

/// The versions that this node will not take: found bad, or refused by the settings.
#[must_use]
pub fn refused(state: &State) -> BTreeSet<&Version> {
    let found = state.memory.rulings.iter().filter(|(_, ruling)| ruling.refused).map(|(version, _)| version);
    found.chain(&state.settings.refuse).collect()
}

/// The version that runs, where the host was looked at in this boot: what the journal says may be of another.
fn running(state: &State) -> Option<&Version> {
    match &state.progress {
        Progress::Starting(_) | Progress::Unsupported(_) => None,
        // The banks are enough to know it.
        Progress::Updating { intent, step: Step::Verifying { .. } | Step::RollingBack { .. } } => Some(&intent.to),
        Progress::Standby(_) | Progress::Locking { .. } | Progress::Updating { .. } => state.memory.running.as_ref(),
    }
}

/// The connections that this node's endpoints have left, while they drain and once they were counted.
#[must_use]
pub fn connections(state: &State) -> Option<u64> {
    match &state.progress {
        Progress::Updating { step: Step::Draining { left, .. }, .. } => *left,
        _ => None,
    }
}

/// The last look at every check, while a version is verified.
#[must_use]
pub fn report(state: &State) -> Option<&Report> {
    match &state.progress {
        Progress::Updating { step: Step::Verifying { report, .. }, .. } => report.as_ref(),
        _ => None,
    }
}

fn chosen(state: &State) -> Option<Version> {
    match &state.progress {
        Progress::Standby(standby) => standby.chosen.clone(),
        Progress::Starting(_) | Progress::Unsupported(_) => None,
        Progress::Locking { intent, .. } | Progress::Updating { intent, .. } => {
            (running(state) != Some(&intent.to)).then(|| intent.to.clone())
        }
    }
}

/// The update under way.
fn intent(progress: &Progress) -> Option<&Intent> {
    match progress {
        Progress::Starting(underway) => underway.as_ref().map(|underway| &underway.intent),
        Progress::Locking { intent, .. } | Progress::Updating { intent, .. } => Some(intent),
        Progress::Unsupported(_) | Progress::Standby(_) => None,
    }
}

fn why(state: &State) -> Arc<str> {
    match &state.progress {
        Progress::Starting(None) => "looking at the host".into(),
        Progress::Starting(Some(Underway { stage: Checkpoint::Preparing, intent })) => {
            format!("looking at the host: the agent was restarted before it rebooted into {}", intent.to).into()
        }
        Progress::Starting(Some(Underway { intent, .. })) => {
            format!("looking at the host, to see what became of the update to {}", intent.to).into()
        }
        Progress::Unsupported(why) => why.clone(),
        Progress::Standby(standby) => {
            let held = state.memory.held.as_ref().filter(|_| state.settings.mode != UpdateMode::Off);
            match (held, &standby.reason) {
                (Some(held), _) => held.why.clone(),
                (None, Some(Reason::Waiting(why, _) | Reason::Idle(why))) => why.clone(),
                (None, None) => "looking at the host".into(),
            }
        }
        Progress::Locking { intent, .. } => {
            format!("asks the fleet whether it is this node's turn to update to {}", intent.to).into()
        }
        Progress::Updating { intent, step } => doing(state, intent, step).into(),
    }
}

/// What an update under way is at.
fn doing(state: &State, intent: &Intent, step: &Step) -> String {
    let Intent { from, to, .. } = intent;
    match step {
        Step::Preparing => format!("the host fetches {to} and writes it to the other bank"),
        Step::Measuring => format!("measures how the workloads do before the update to {to}"),
        Step::Draining { left: Some(left), .. } => {
            format!("waits for this node's endpoints to lose their connections before the update to {to}: {left} left")
        }
        Step::Draining { left: None, .. } => format!("takes this node's endpoints out before the update to {to}"),
        Step::Activating => format!("tells the next boot to take {to}"),
        Step::Rebooting { .. } => format!("reboots into {to}"),
        Step::RebootingBack { .. } => format!("reboots back into {from}: {}", condemned(state, to)),
        Step::Withdrawing { why, failure, .. } => {
            let failure = failure.as_ref().map(|failure| format!("; {failure}")).unwrap_or_default();
            format!("calls the update to {to} off: {why}{failure}")
        }
        Step::Verifying { report: None, .. } => format!("looks how the workloads do on {to}"),
        Step::Verifying { report: Some(report), .. } => {
            let (mut failing, settle) = (report.failing(), state.settings.verify.settle);
            match failing.next() {
                None => format!("every check holds on {to}; it is good once all held for {settle:?}"),
                Some(Check { name, found, .. }) => {
                    let failed = failing.count() + 1;
                    format!("{failed} of {} checks fail on {to}: {name}: {found}", report.checks.len())
                }
            }
        }
        Step::RollingBack { .. } => format!("takes {to} back: {}", condemned(state, to)),
    }
}

/// Why a version was found bad.
fn condemned(state: &State, version: &Version) -> Arc<str> {
    let verdict = state.memory.verdict.as_ref().filter(|verdict| verdict.version == *version);
    let refusal = policy::refusal(&state.memory, version);
    let why = verdict.map(|verdict| &verdict.why).or(refusal.map(|ruling| &ruling.why));
    why.cloned().unwrap_or_else(|| "it was found bad".into())
}

fn until(state: &State, now: Now) -> Option<Timestamp> {
    match &state.progress {
        Progress::Standby(Standby { reason: Some(Reason::Waiting(_, until)), .. }) if state.memory.held.is_none() => {
            *until
        }
        Progress::Updating { step: Step::Draining { since, .. }, .. } => wall(*since + state.settings.drain, now),
        Progress::Updating { step: Step::Verifying { since, .. }, .. } => {
            wall(*since + state.settings.verify.deadline, now)
        }
        _ => None,
    }
}

/// A moment of the boot's clock by the wall's, to the second.
fn wall(moment: Duration, now: Now) -> Option<Timestamp> {
    let wall = if moment >= now.boot {
        now.wall.checked_add(moment - now.boot)
    } else {
        now.wall.checked_sub(now.boot - moment)
    };
    wall.ok()?.round(Unit::Second).ok()
}

fn trouble(state: &State) -> Option<Arc<str>> {
    let of_phase = match &state.progress {
        Progress::Standby(standby) | Progress::Locking { standby, .. } => standby.failure.as_ref(),
        Progress::Updating { step: Step::RollingBack { failure, .. }, .. } => failure.as_ref(),
        Progress::Starting(_) | Progress::Unsupported(_) | Progress::Updating { .. } => None,
    };
    let forgetful =
        || (!state.recorded).then(|| "the journal on disk is behind; what is new in it would be lost".into());
    of_phase.cloned().or_else(forgetful)
}

impl From<&Verdict> for VerdictStatus {
    fn from(verdict: &Verdict) -> Self {
        let Verdict { version, good, at, why, report } = verdict.clone();
        Self { version, good, at, why, checks: report.checks }
    }
}

impl From<&VersionPin> for Lock {
    fn from(pin: &VersionPin) -> Self {
        Self { to: pin.to.clone(), before: pin.before.as_str().into() }
    }
}
