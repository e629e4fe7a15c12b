//! The words for where an update is: one set for status, metrics, journal, `machine.md` and people.

use std::fmt;

/// Where the update is, as everybody who looks at the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Updates are turned off, and none is under way.
    Off,
    /// This host cannot be updated in place.
    Unsupported,
    /// There is nothing to do.
    Idle,
    /// An update is to be had, or one was called off, and something is waited for.
    Waiting,
    /// The host writes the image to the other bank, and the workloads' health is noted.
    Preparing,
    /// This node's endpoints are out of every slot; the connections that they have are waited for.
    Draining,
    /// The next boot is told to take the other bank.
    Activating,
    /// The host was asked to reboot into the new version.
    Rebooting,
    /// The new version runs and is judged.
    Verifying,
    /// The new version was found bad, and the old one is gone back to.
    RollingBack,
    /// No update begins until a person says resume.
    Held,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 11] = [
        Self::Off,
        Self::Unsupported,
        Self::Idle,
        Self::Waiting,
        Self::Preparing,
        Self::Draining,
        Self::Activating,
        Self::Rebooting,
        Self::Verifying,
        Self::RollingBack,
        Self::Held,
    ];

    /// The phase's word in status, metrics and journal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unsupported => "unsupported",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Draining => "draining",
            Self::Activating => "activating",
            Self::Rebooting => "rebooting",
            Self::Verifying => "verifying",
            Self::RollingBack => "rolling-back",
            Self::Held => "held",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
