//! An update under way: each event to its step, and what several steps have in common.

use bottlerocket_settings::{UpdateState, UpdateStatus};
use semver::Version;

use super::effect::Effect;
use super::event::Event;
use super::record::{Intent, OwnCommand};
use super::state::{Now, Progress, State, Step};
use super::verifying::Judged;

impl State {
    /// `None` where the event cannot happen.
    pub(super) fn updating(&mut self, intent: Intent, step: Step, event: Event, now: Now) -> Option<Vec<Effect>> {
        match step {
            Step::Preparing => self.preparing(intent, event),
            Step::Measuring => self.measuring(intent, event, now),
            Step::Draining { since, left } => self.draining(intent, (since, left), event, now),
            Step::Activating => self.activating(intent, event),
            Step::Rebooting { asked } => self.rebooting(intent, asked, event),
            Step::Withdrawing { why, activated, .. } => self.withdrawing(intent, (why, activated), event, now),
            Step::Verifying { boot, boots, since, settled, .. } => {
                self.verifying(intent, Judged { boot, boots, since, settled }, event, now)
            }
            Step::RollingBack { failed, .. } => self.rolling_back(intent, failed, event, now),
            Step::RebootingBack { asked } => self.rebooting_back(intent, asked, event),
        }
    }

    /// The next step towards the reboot, unless a person holds updates meanwhile. `activated`: this agent may have told
    /// the boot loader of the update by now.
    pub(super) fn advance(&mut self, intent: Intent, activated: bool, step: Step, effect: Effect) -> Vec<Effect> {
        match &self.memory.held {
            Some(held) => {
                let why = format!("updates are held: {}", held.why);
                self.withdraw(intent, activated, why)
            }
            None => {
                self.progress = Progress::Updating { intent, step };
                self.issue(effect)
            }
        }
    }

    /// Before the host's updater is told something: what is said of a command then may be said of this one.
    pub(super) fn issue(&mut self, effect: Effect) -> Vec<Effect> {
        if let (Effect::Prepare | Effect::Activate | Effect::Deactivate, Some(own)) = (&effect, &mut self.memory.own) {
            own.timestamp = None;
        }
        vec![effect]
    }

    /// The host's last command was this agent's.
    pub(super) fn note_own(&mut self, intent: &Intent, status: &UpdateStatus) {
        let staged = status.staging_partition.as_ref().and_then(|it| Version::parse(&it.image.version).ok());
        let timestamp = status.most_recent_command.as_ref().map(|command| command.timestamp.clone());
        self.memory.own = staged.map(|staged| OwnCommand { boot: intent.boot.clone(), timestamp, staged });
    }
}

/// Whether the host's updater is in this state with this update.
pub(super) fn has_staged(intent: &Intent, status: &UpdateStatus, state: UpdateState) -> bool {
    let staged = status.staging_partition.as_ref().map(|staged| staged.image.version.as_str());
    status.update_state == state && staged == Some(intent.to.to_string().as_str())
}
