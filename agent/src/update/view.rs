//! What people see of the update.

use super::drain::Standing;
use super::machine::{Intent, Phase, Stage, State, Step};

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
