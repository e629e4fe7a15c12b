//! Withdrawing, which people see as waiting: an update is called off before its reboot, and what this agent activated
//! itself is deactivated.

use std::sync::Arc;

use bottlerocket_settings::UpdateState;

use super::effect::Effect;
use super::event::Event;
use super::facts::Facts;
use super::policy;
use super::record::{End, Intent};
use super::state::{Now, Progress, State, Step};
use super::updating::has_staged;

impl State {
    /// Calls an update off. `activated`: this agent may have told the boot loader of it.
    pub(super) fn withdraw(&mut self, intent: Intent, activated: bool, why: impl Into<Arc<str>>) -> Vec<Effect> {
        let step = Step::Withdrawing { why: why.into(), activated, failure: None };
        self.progress = Progress::Updating { intent, step };
        vec![Effect::Look]
    }

    pub(super) fn withdrawing(
        &mut self,
        intent: Intent,
        (why, activated): (Arc<str>, bool),
        event: Event,
        now: Now,
    ) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Tick => vec![Effect::Look],
            Event::Looked(Err(failure)) | Event::Deactivated(Err(failure)) => {
                let step = Step::Withdrawing { why, activated, failure: Some(failure.why) };
                self.progress = Progress::Updating { intent, step };
                Vec::new()
            }
            Event::Deactivated(Ok(status)) => {
                self.note_own(&intent, &status);
                // What was made ready in between, and is no longer, is somebody else's.
                self.memory.own.take_if(|own| own.staged != intent.to);
                vec![Effect::Look]
            }
            Event::Looked(Ok(facts)) => {
                if self.has_to_deactivate(&intent, activated, &facts) {
                    return Some(self.issue(Effect::Deactivate));
                }
                self.end(&intent, End::Withdrawn, why, now)
            }
            _ => return None,
        })
    }

    fn has_to_deactivate(&mut self, intent: &Intent, activated: bool, facts: &Facts) -> bool {
        let Some(status) = &facts.updates else { return false };
        // What came of a command whose end was not heard is this agent's own.
        let unheard = self.memory.own.as_ref().is_none_or(|own| own.timestamp.is_none());
        let state = if activated { UpdateState::Ready } else { UpdateState::Staged };
        if unheard && (has_staged(intent, status, state) || has_staged(intent, status, UpdateState::Staged)) {
            self.note_own(intent, status);
        }
        activated && status.update_state == UpdateState::Ready && policy::is_own(&self.memory, facts)
    }
}
