//! The places of the diagram.

use std::fmt;

use super::state::{Phase, Step};

/// Where the update stands, without the particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named after the phases and steps of the state")]
pub enum Place {
    Starting,
    Unsupported,
    Resting,
    Locking,
    Preparing,
    Measuring,
    Draining,
    Activating,
    Rebooting,
    Withdrawing,
    Verifying,
    RollingBack,
    RebootingBack,
}

impl Place {
    /// The place of a phase.
    #[must_use]
    pub fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Starting(_) => Self::Starting,
            Phase::Unsupported(_) => Self::Unsupported,
            Phase::Resting(_) => Self::Resting,
            Phase::Locking { .. } => Self::Locking,
            Phase::Updating { step, .. } => match step {
                Step::Preparing => Self::Preparing,
                Step::Measuring => Self::Measuring,
                Step::Draining { .. } => Self::Draining,
                Step::Activating => Self::Activating,
                Step::Rebooting { back: false, .. } => Self::Rebooting,
                Step::Rebooting { back: true, .. } => Self::RebootingBack,
                Step::Withdrawing { .. } => Self::Withdrawing,
                Step::Verifying { .. } => Self::Verifying,
                Step::RollingBack { .. } => Self::RollingBack,
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
