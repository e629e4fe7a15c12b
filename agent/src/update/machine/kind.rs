//! The states of the diagram.

use std::fmt;

use super::phase::Phase;
use super::state::{Progress, Step};

/// Where the update is, without the particulars. Finer than its [`Phase`]: some phases have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named after the variants of Progress and Step")]
pub enum ProgressKind {
    Starting,
    Unsupported,
    Standby,
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

impl ProgressKind {
    /// Every kind, in the order in which a bad update goes through them.
    pub const ALL: [Self; 13] = [
        Self::Starting,
        Self::Unsupported,
        Self::Standby,
        Self::Locking,
        Self::Preparing,
        Self::Measuring,
        Self::Draining,
        Self::Activating,
        Self::Rebooting,
        Self::Withdrawing,
        Self::Verifying,
        Self::RollingBack,
        Self::RebootingBack,
    ];

    /// The kind of a progress.
    #[must_use]
    pub fn of(progress: &Progress) -> Self {
        match progress {
            Progress::Starting(_) => Self::Starting,
            Progress::Unsupported(_) => Self::Unsupported,
            Progress::Standby(_) => Self::Standby,
            Progress::Locking { .. } => Self::Locking,
            Progress::Updating { step, .. } => match step {
                Step::Preparing => Self::Preparing,
                Step::Measuring => Self::Measuring,
                Step::Draining { .. } => Self::Draining,
                Step::Activating => Self::Activating,
                Step::Rebooting { .. } => Self::Rebooting,
                Step::Withdrawing { .. } => Self::Withdrawing,
                Step::Verifying { .. } => Self::Verifying,
                Step::RollingBack { .. } => Self::RollingBack,
                Step::RebootingBack { .. } => Self::RebootingBack,
            },
        }
    }

    /// The phases that people may see meanwhile.
    #[must_use]
    pub fn phases(self) -> &'static [Phase] {
        match self {
            Self::Starting => &[Phase::Off, Phase::Idle, Phase::Waiting, Phase::Verifying, Phase::RollingBack],
            Self::Unsupported => &[Phase::Unsupported],
            Self::Standby => &[Phase::Off, Phase::Idle, Phase::Waiting, Phase::Held],
            Self::Locking | Self::Withdrawing => &[Phase::Waiting],
            Self::Preparing | Self::Measuring => &[Phase::Preparing],
            Self::Draining => &[Phase::Draining],
            Self::Activating => &[Phase::Activating],
            Self::Rebooting => &[Phase::Rebooting],
            Self::Verifying => &[Phase::Verifying],
            Self::RollingBack | Self::RebootingBack => &[Phase::RollingBack],
        }
    }
}

impl fmt::Display for ProgressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
