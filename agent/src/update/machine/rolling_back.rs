//! Rolling back, in two steps: the next boot is told to take the old bank; then the host was asked to reboot.

use std::sync::Arc;

use super::boot::{rollback_barred, rollback_barred_by_banks};
use super::effect::Effect;
use super::event::Event;
use super::record::{End, Intent};
use super::state::{Now, Progress, State, Step};

/// How often the banks may refuse to be turned back before a person has to look.
const MAX_FAILED: u32 = 10;

impl State {
    pub(super) fn roll_back(&mut self, intent: Intent) -> Vec<Effect> {
        self.progress = Progress::Updating { intent, step: Step::RollingBack { failed: 0, failure: None } };
        vec![Effect::Look]
    }

    pub(super) fn rolling_back(&mut self, intent: Intent, failed: u32, event: Event, now: Now) -> Option<Vec<Effect>> {
        let barred = match event {
            Event::Tick => return Some(vec![Effect::Look]),
            Event::Looked(Ok(facts)) => rollback_barred(&intent, &facts),
            Event::Looked(Err(failure)) => match failure.partial {
                Some(partial) => rollback_barred_by_banks(&intent, &partial.banks),
                None => return Some(self.rollback_failed(intent, failed, failure.why, now)),
            },
            Event::RolledBack(Ok(banks)) if banks.next() == Some(intent.bank) => {
                self.progress = Progress::Updating { intent, step: Step::RebootingBack { asked: 1 } };
                return Some(vec![Effect::Reboot]);
            }
            Event::RolledBack(result) => {
                let why = result.err().unwrap_or_else(|| "signpost changed nothing".into());
                return Some(self.rollback_failed(intent, failed, why, now));
            }
            _ => return None,
        };
        Some(match barred {
            Some(barred) => self.keep(&intent, format!("it cannot be taken back: {barred}"), now),
            None => vec![Effect::RollBack],
        })
    }

    pub(super) fn rebooting_back(&mut self, intent: Intent, asked: u32, event: Event) -> Option<Vec<Effect>> {
        match event {
            Event::Rebooting(_) => Some(Vec::new()),
            Event::Tick => {
                let step = Step::RebootingBack { asked: asked.saturating_add(1) };
                self.progress = Progress::Updating { intent, step };
                Some(vec![Effect::Reboot])
            }
            _ => None,
        }
    }

    /// A bad version has to stay. Nothing more is tried until a person has looked.
    pub(super) fn keep(&mut self, intent: &Intent, why: String, now: Now) -> Vec<Effect> {
        self.hold(format!("{} runs and is bad: {why}", intent.to), now);
        self.end(intent, End::Kept, why, now)
    }

    fn rollback_failed(&mut self, intent: Intent, failed: u32, why: Arc<str>, now: Now) -> Vec<Effect> {
        if failed + 1 >= MAX_FAILED {
            return self.keep(&intent, format!("it cannot be taken back: {why}"), now);
        }
        let step = Step::RollingBack { failed: failed + 1, failure: Some(why) };
        self.progress = Progress::Updating { intent, step };
        Vec::new()
    }
}
