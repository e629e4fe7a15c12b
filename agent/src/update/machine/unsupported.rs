//! Unsupported: this host cannot be updated in place. It is looked at now and then all the same.

use super::effect::Effect;
use super::event::Event;
use super::state::{Progress, Standby, State};

impl State {
    pub(super) fn unsupported(&mut self, event: Event) -> Option<Vec<Effect>> {
        match event {
            Event::Tick => return Some(vec![Effect::Look]),
            Event::Looked(Ok(_)) => self.progress = Progress::Standby(Standby::default()),
            Event::Looked(Err(failure)) if failure.unsupported => self.progress = Progress::Unsupported(failure.why),
            Event::Looked(Err(_)) => {}
            _ => return None,
        }
        Some(Vec::new())
    }
}
