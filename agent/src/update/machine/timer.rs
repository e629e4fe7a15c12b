//! How long nothing may happen in each state.

use std::time::Duration;

use super::state::{Progress, Reason, Standby, State, Step};

impl State {
    /// How long nothing may happen before the next [`Event::Tick`](super::Event::Tick), once every effect is done.
    #[must_use]
    pub fn tick_after(&self) -> Duration {
        Duration::from_secs(match &self.progress {
            Progress::Starting(_) => 2,
            Progress::Unsupported(_) => 300,
            Progress::Standby(Standby { reason: None, .. }) => 0,
            Progress::Standby(Standby { reason: Some(Reason::Idle(_)), .. }) => 30,
            Progress::Standby(_) | Progress::Locking { .. } => 10,
            Progress::Updating { step, .. } => match step {
                Step::Preparing | Step::Measuring | Step::Activating => 10,
                Step::Draining { .. } => 1,
                Step::Rebooting { .. } | Step::RebootingBack { .. } => 15,
                Step::Withdrawing { .. } | Step::RollingBack { .. } => 5,
                Step::Verifying { .. } => 2,
            },
        })
    }
}
