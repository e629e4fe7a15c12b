//! Preparing, in two steps: the host writes the image to the other bank; then how the workloads do is measured.

use bottlerocket_settings::UpdateState;

use super::effect::Effect;
use super::event::Event;
use super::record::Intent;
use super::state::{Now, State, Step};
use super::updating::has_staged;

impl State {
    pub(super) fn preparing(&mut self, intent: Intent, event: Event) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Prepared(Ok(status)) => {
                self.note_own(&intent, &status);
                if !has_staged(&intent, &status, UpdateState::Staged) {
                    return Some(self.withdraw(intent, false, "the host staged something else"));
                }
                self.advance(intent, false, Step::Measuring, Effect::Measure)
            }
            Event::Prepared(Err(failure)) => self.withdraw(intent, false, failure.why),
            _ => return None,
        })
    }

    pub(super) fn measuring(&mut self, intent: Intent, event: Event, now: Now) -> Option<Vec<Effect>> {
        let Event::Measured(baseline) = event else { return None };
        let step = Step::Draining { since: now.boot, left: None };
        Some(self.advance(Intent { baseline, ..intent }, false, step, Effect::Count))
    }
}
