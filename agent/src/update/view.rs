//! What others see of the update. Pure.
//!
//! Receives the [`State`]; emits whether this node's endpoints take connections meanwhile, and all of it as one object
//! for people ([`status()`]). Decides nothing.

use super::drain::Availability;
use super::machine::{Checkpoint, Intent, Progress, Standby, State, Step, Underway};

mod status;

pub use status::{Lock, Refusal, UpdateStatus, VerdictStatus, connections, refused, report, status};

/// Whether this node's endpoints take connections while the update is where it is.
#[must_use]
pub fn availability(state: &State) -> Availability {
    let draining = |intent: &Intent| Availability::Draining {
        why: format!("its node drains for the update to {}", intent.to).into(),
    };
    let last_resort = |intent: &Intent| Availability::LastResort {
        why: format!("its node verifies the update to {}", intent.to).into(),
    };
    match &state.progress {
        // Whether it was ever rebooted into is not known yet.
        Progress::Starting(Some(Underway { stage, intent })) if *stage != Checkpoint::Preparing => last_resort(intent),
        Progress::Starting(_) | Progress::Unsupported(_) | Progress::Standby(_) | Progress::Locking { .. } => {
            Availability::Serving
        }
        Progress::Updating { intent, step } => match step {
            Step::Preparing | Step::Measuring | Step::Withdrawing { .. } => Availability::Serving,
            Step::Draining { .. } | Step::Activating => draining(intent),
            Step::Rebooting { .. } | Step::RebootingBack { .. } => draining(intent),
            Step::Verifying { .. } | Step::RollingBack { .. } => last_resort(intent),
        },
    }
}

/// Whether the host is being looked at, so that where the update is is about to be known anew.
#[must_use]
pub fn looking(state: &State) -> bool {
    matches!(state.progress, Progress::Starting(_) | Progress::Standby(Standby { reason: None, .. }))
}

#[cfg(test)]
mod tests;
