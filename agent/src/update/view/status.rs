//! The update as one object of the status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{looking, phase};
use crate::config::update::UpdateMode;
use crate::update::machine::{Held, Intent, Now, Past, Phase, Pin, Rest, Retry, Stage, State, Step, Verdict, Why};
use crate::update::policy;
use crate::update::verify::{Check, Report};

/// The node's own update. What there is nothing to say about is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands, by [`phase`]'s word.
    pub phase: Arc<str>,
    /// The OS version that runs, where the host has said so.
    pub running: Option<Arc<str>>,
    /// The version that the host would take.
    pub chosen: Option<Version>,
    /// Versions that this node will not take.
    pub refused: Vec<Version>,
    /// Why it stands there, for people.
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
    pub held: Option<Held>,
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
    pub history: Vec<Past>,
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
    let rest = match &state.phase {
        Phase::Resting(rest) | Phase::Locking { rest, .. } => Some(rest),
        Phase::Starting(_) | Phase::Unsupported(_) | Phase::Updating { .. } => None,
    };
    let intent = intent(&state.phase);
    let refusals = memory.rulings.iter().filter(|(_, ruling)| ruling.refused);
    UpdateStatus {
        phase: phase(state).into(),
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
        checked_at: rest.and_then(|rest| rest.refreshed_at),
        trouble: trouble(state),
        history: memory.history.clone(),
    }
}

/// The versions that this node will not take: found bad, or refused by the settings.
#[must_use]
pub fn refused(state: &State) -> BTreeSet<&Version> {
    let found = state.memory.rulings.iter().filter(|(_, ruling)| ruling.refused).map(|(version, _)| version);
    found.chain(&state.settings.refuse).collect()
}

/// The version that runs, where the host was looked at in this boot: what the journal says may be of another.
fn running(state: &State) -> Option<&Version> {
    match &state.phase {
        Phase::Starting(_) | Phase::Unsupported(_) => None,
        // The banks are enough to know it.
        Phase::Updating { intent, step: Step::Verifying { .. } | Step::RollingBack { .. } } => Some(&intent.to),
        Phase::Resting(_) | Phase::Locking { .. } | Phase::Updating { .. } => state.memory.running.as_ref(),
    }
}

/// The connections that this node's endpoints have left, while they drain and once they were counted.
#[must_use]
pub fn connections(state: &State) -> Option<u64> {
    match &state.phase {
        Phase::Updating { step: Step::Draining { left, .. }, .. } => *left,
        _ => None,
    }
}

/// The last look at every check, while a version is verified.
#[must_use]
pub fn report(state: &State) -> Option<&Report> {
    match &state.phase {
        Phase::Updating { step: Step::Verifying { report, .. }, .. } => report.as_ref(),
        _ => None,
    }
}

fn chosen(state: &State) -> Option<Version> {
    match &state.phase {
        Phase::Resting(rest) => rest.chosen.clone(),
        Phase::Starting(_) | Phase::Unsupported(_) => None,
        Phase::Locking { intent, .. } | Phase::Updating { intent, .. } => {
            (running(state) != Some(&intent.to)).then(|| intent.to.clone())
        }
    }
}

/// The update under way.
fn intent(phase: &Phase) -> Option<&Intent> {
    match phase {
        Phase::Starting(underway) => underway.as_ref().map(|(intent, _)| intent),
        Phase::Locking { intent, .. } | Phase::Updating { intent, .. } => Some(intent),
        Phase::Unsupported(_) | Phase::Resting(_) => None,
    }
}

fn why(state: &State) -> Arc<str> {
    match &state.phase {
        Phase::Starting(None) => "looking at the host".into(),
        Phase::Starting(Some((intent, Stage::Preparing))) => {
            format!("looking at the host: the agent was restarted before it rebooted into {}", intent.to).into()
        }
        Phase::Starting(Some((intent, _))) => {
            format!("looking at the host, to see what became of the update to {}", intent.to).into()
        }
        Phase::Unsupported(why) => why.clone(),
        Phase::Resting(rest) => {
            let held = state.memory.held.as_ref().filter(|_| state.settings.mode != UpdateMode::Off);
            match (held, &rest.why) {
                (Some(held), _) => held.why.clone(),
                (None, Some(Why::Waiting(why, _) | Why::Idle(why))) => why.clone(),
                (None, None) => "looking at the host".into(),
            }
        }
        Phase::Locking { intent, .. } => {
            format!("asks the fleet whether it is this node's turn to update to {}", intent.to).into()
        }
        Phase::Updating { intent, step } => doing(state, intent, step).into(),
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
        Step::Rebooting { back: false, .. } => format!("reboots into {to}"),
        Step::Rebooting { back: true, .. } => format!("reboots back into {from}: {}", condemned(state, to)),
        Step::Withdrawing { why, trouble, .. } => {
            let trouble = trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
            format!("calls the update to {to} off: {why}{trouble}")
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
    match &state.phase {
        Phase::Resting(Rest { why: Some(Why::Waiting(_, until)), .. }) if state.memory.held.is_none() => *until,
        Phase::Updating { step: Step::Draining { since, .. }, .. } => wall(*since + state.settings.drain, now),
        Phase::Updating { step: Step::Verifying { since, .. }, .. } => {
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
    let of_phase = match &state.phase {
        Phase::Resting(rest) | Phase::Locking { rest, .. } => rest.trouble.as_ref(),
        Phase::Updating { step: Step::RollingBack { trouble, .. }, .. } => trouble.as_ref(),
        Phase::Starting(_) | Phase::Unsupported(_) | Phase::Updating { .. } => None,
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

impl From<&Pin> for Lock {
    fn from(pin: &Pin) -> Self {
        Self { to: pin.to.clone(), before: pin.before.as_str().into() }
    }
}
