//! What people see of the update: the state in the words of status and metrics. Pure.
//!
//! Receives the [`State`]; emits how this node's endpoints stand, the word for where the update is, and all of it as one
//! object ([`status()`]). Decides nothing.

use super::drain::Standing;
use super::machine::{Intent, Phase, Rest, Stage, State, Step, Why};
use crate::config::update::UpdateMode;

mod status;

pub use status::{Lock, Refusal, UpdateStatus, VerdictStatus, connections, refused, report, status};

/// How this node's endpoints stand while the update is where it is.
#[must_use]
pub fn standing(state: &State) -> Standing {
    let draining =
        |intent: &Intent| Standing::Draining { why: format!("its node drains for the update to {}", intent.to).into() };
    let held_back =
        |intent: &Intent| Standing::HeldBack { why: format!("its node verifies the update to {}", intent.to).into() };
    match &state.phase {
        // Whether it was ever rebooted into is not known yet.
        Phase::Starting(Some((intent, stage))) if *stage != Stage::Preparing => held_back(intent),
        Phase::Starting(_) | Phase::Unsupported(_) | Phase::Resting(_) | Phase::Locking { .. } => Standing::Serving,
        Phase::Updating { intent, step } => match step {
            Step::Preparing | Step::Measuring | Step::Withdrawing { .. } => Standing::Serving,
            Step::Draining { .. } | Step::Activating | Step::Rebooting { .. } => draining(intent),
            Step::Verifying { .. } | Step::RollingBack { .. } => held_back(intent),
        },
    }
}

/// The word for where the update is: `off`, `unsupported`, `idle`, `waiting`, `preparing`, `draining`, `activating`,
/// `rebooting`, `verifying`, `rolling-back` or `held`.
#[must_use]
pub fn phase(state: &State) -> &'static str {
    match &state.phase {
        // As far as it was, until the host was looked at.
        Phase::Starting(Some((_, stage))) => match stage {
            Stage::Preparing => "waiting",
            Stage::Activating | Stage::Verifying { .. } | Stage::Unknown => "verifying",
            Stage::RollingBack => "rolling-back",
        },
        Phase::Unsupported(_) => "unsupported",
        Phase::Starting(None) | Phase::Resting(_) if state.settings.mode == UpdateMode::Off => "off",
        Phase::Resting(_) if state.memory.held.is_some() => "held",
        Phase::Starting(None) | Phase::Resting(Rest { why: None | Some(Why::Idle(_)), .. }) => "idle",
        Phase::Resting(Rest { why: Some(Why::Waiting(..)), .. }) | Phase::Locking { .. } => "waiting",
        Phase::Updating { step, .. } => match step {
            Step::Preparing | Step::Measuring => "preparing",
            Step::Draining { .. } => "draining",
            Step::Activating => "activating",
            Step::Rebooting { back: false, .. } => "rebooting",
            Step::Withdrawing { .. } => "waiting",
            Step::Verifying { .. } => "verifying",
            Step::RollingBack { .. } | Step::Rebooting { back: true, .. } => "rolling-back",
        },
    }
}

/// Whether the host is being looked at, so that where the update stands is about to be known anew.
#[must_use]
pub fn looking(state: &State) -> bool {
    matches!(state.phase, Phase::Starting(_) | Phase::Resting(Rest { why: None, .. }))
}

#[cfg(test)]
mod tests;
