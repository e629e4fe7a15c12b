//! Draining: this node's endpoints are out of every slot, and the connections that they have are waited for. Then the
//! host and the fleet are looked at a last time before the next boot is changed.

use std::time::Duration;

use bottlerocket_settings::UpdateState;

use super::effect::Effect;
use super::event::Event;
use super::facts::Facts;
use super::policy;
use super::record::Intent;
use super::state::{Now, Progress, State, Step};

/// The least time that other nodes are given to hear that this one drains.
const HEARD: Duration = Duration::from_secs(2);
/// How long a host that cannot be looked at is waited for, with the drain done and nobody served.
const PATIENCE: Duration = Duration::from_secs(60);

impl State {
    pub(super) fn draining(
        &mut self,
        intent: Intent,
        (since, left): (Duration, Option<u64>),
        event: Event,
        now: Now,
    ) -> Option<Vec<Effect>> {
        let elapsed = now.boot.saturating_sub(since);
        Some(match event {
            Event::Tick => self.advance(intent, false, Step::Draining { since, left }, Effect::Count),
            Event::Counted(count) => {
                let drained = count == Ok(0) && elapsed >= HEARD;
                let step = Step::Draining { since, left: count.ok().or(left) };
                if self.memory.held.is_some() || drained || elapsed >= self.settings.drain {
                    return Some(self.advance(intent, false, step, Effect::Look));
                }
                self.progress = Progress::Updating { intent, step };
                Vec::new()
            }
            // Nobody is served meanwhile, so it is not waited for ever.
            Event::Looked(Err(failure)) if elapsed >= self.settings.drain + PATIENCE => {
                self.withdraw(intent, false, failure.why)
            }
            Event::Looked(Err(_)) => Vec::new(),
            Event::Looked(Ok(facts)) => self.drained(intent, &facts),
            _ => return None,
        })
    }

    fn drained(&mut self, intent: Intent, facts: &Facts) -> Vec<Effect> {
        // Where several nodes update at one time, another may have found out by now.
        if let Ok(board) = &facts.board {
            policy::learn(&mut self.memory, board);
        }
        if let Some(ruling) = policy::refusal(&self.memory, &intent.to) {
            let why = format!("{} refused it: {}", ruling.by, ruling.why);
            return self.withdraw(intent, false, why);
        }
        let staged = facts.updates.as_ref().is_some_and(|it| it.update_state == UpdateState::Staged);
        let untouched = staged
            && policy::is_own(&self.memory, facts)
            && facts.banks.active == intent.bank
            && facts.banks.next() == Some(intent.bank);
        if !untouched {
            return self.withdraw(intent, false, "somebody else changed what is staged");
        }
        self.advance(intent, false, Step::Activating, Effect::Activate)
    }
}
