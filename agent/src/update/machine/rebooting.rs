//! Rebooting: the host was asked to reboot into the new version.

use super::effect::Effect;
use super::event::Event;
use super::record::Intent;
use super::state::{State, Step};

/// How often a host is asked to reboot into a new version before the update is called off.
const MAX_ASKED: u32 = 120;

impl State {
    pub(super) fn rebooting(&mut self, intent: Intent, asked: u32, event: Event) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Rebooting(Err(why)) if asked >= MAX_ASKED => {
                self.withdraw(intent, true, format!("the host does not reboot: {why}"))
            }
            Event::Rebooting(_) => Vec::new(),
            Event::Tick if asked >= MAX_ASKED => self.withdraw(intent, true, "the host does not reboot"),
            Event::Tick => self.advance(intent, true, Step::Rebooting { asked: asked + 1 }, Effect::Reboot),
            _ => return None,
        })
    }
}
