//! What others see of the update. Pure.
//!
//! Receives the [`State`]; emits whether this node's endpoints take connections meanwhile, and all of it as one object
//! for people ([`status()`]). Decides nothing.

use super::drain::Availability;
use super::machine::{Checkpoint, Intent, Progress, State, Step, Underway};

mod status;

pub use status::{Lock, Refusal, UpdateStatus, VerdictStatus, connections, looking, refused, report, status};

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

#[cfg(test)]
mod tests;
