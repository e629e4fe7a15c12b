//! What a person asks of the update. May come at any time, and moves nothing by itself.

use std::sync::Arc;

use semver::Version;

use super::policy;
use super::record::Hold;
use super::state::{Now, Progress, State};

/// What a person asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin no update, and call off what has not rebooted yet; why, for people.
    Hold(Arc<str>),
    /// Let updates go on.
    Resume,
    /// Let a refused version be taken again.
    Allow(Version),
    /// Look for updates now.
    Check,
}

impl Command {
    /// The command's name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Resume => "resume",
            Self::Allow(_) => "allow",
            Self::Check => "check",
        }
    }
}

impl State {
    pub(super) fn command(&mut self, command: Command, now: Now) {
        let memory = &mut self.memory;
        match command {
            Command::Hold(why) => memory.held = Some(Hold { why: policy::sentence(&why), since: now.wall }),
            Command::Resume => {
                (memory.held, memory.retry, memory.rollbacks) = (None, None, 0);
                memory.reset = Some(now.wall);
                if let Some(pin) = &mut memory.pin {
                    pin.lift = true;
                }
                self.look_anew();
            }
            Command::Allow(version) => {
                let why = Arc::from("allowed again by hand");
                memory.retry.take_if(|retry| retry.version == version);
                self.rule(version, false, why, now);
                self.look_anew();
            }
            Command::Check => self.look_anew(),
        }
    }

    fn look_anew(&mut self) {
        if let Progress::Standby(standby) = &mut self.progress {
            (standby.refreshed, standby.reason) = (None, None);
        }
    }
}
