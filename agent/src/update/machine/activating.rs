//! Activating: the next boot is told to take the other bank.

use bottlerocket_settings::UpdateState;

use super::effect::Effect;
use super::event::Event;
use super::record::Intent;
use super::state::{State, Step};
use super::updating::has_staged;

impl State {
    pub(super) fn activating(&mut self, intent: Intent, event: Event) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Activated(Ok(status)) => {
                self.note_own(&intent, &status);
                if !has_staged(&intent, &status, UpdateState::Ready) {
                    return Some(self.withdraw(intent, true, "the host made something else ready"));
                }
                self.advance(intent, true, Step::Rebooting { asked: 1 }, Effect::Reboot)
            }
            Event::Activated(Err(failure)) => self.withdraw(intent, true, failure.why),
            _ => return None,
        })
    }
}
