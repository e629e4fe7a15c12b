//! Locking, which people see as waiting: the fleet is asked whether it is this node's turn.

use std::sync::Arc;

use super::effect::Effect;
use super::event::Event;
use super::policy::{self, Decision};
use super::record::Intent;
use super::state::{Now, Progress, Reason, Standby, State, Step};
use crate::update::fleet::Grant;

impl State {
    pub(super) fn locking(&mut self, intent: Intent, standby: Standby, event: Event, now: Now) -> Option<Vec<Effect>> {
        let wait = |why: String, standby| {
            let reason = Some(Reason::Waiting(Arc::from(why), None));
            Progress::Standby(Standby { reason, ..standby })
        };
        match event {
            // It may have waited long: nothing may speak against it now either.
            Event::Granted(Ok(Grant::Granted)) => return Some(vec![Effect::Look]),
            Event::Granted(Ok(Grant::Refused(why))) => {
                self.progress = wait(format!("not this node's turn: {why}"), standby);
            }
            Event::Granted(Err(failure)) => {
                // It may have been granted all the same.
                let standby = Standby { released: false, ..standby };
                self.progress = wait(format!("the fleet's lock cannot be had: {failure}"), standby);
            }
            Event::Looked(looked) => {
                let facts = looked.ok();
                if let Some(Ok(board)) = facts.as_ref().map(|facts| &facts.board) {
                    policy::learn(&mut self.memory, board);
                }
                let decision = facts.map(|facts| policy::decide(self, &facts, now));
                if decision == Some(Decision::Begin(intent.to.clone())) {
                    self.progress = Progress::Updating { intent, step: Step::Preparing };
                    return Some(self.issue(Effect::Prepare));
                }
                self.progress = Progress::Standby(Standby { released: false, reason: None, ..standby });
            }
            _ => return None,
        }
        Some(Vec::new())
    }
}
