//! Between updates: what is still owed to host and fleet, and whether one may begin.

use std::time::Duration;

use jiff::Timestamp;

use super::ends::MAX_RETRY;
use super::{Effect, Facts, Intent, Now, Phase, Rest, State, Why};
use crate::config::update::UpdateMode;
use crate::update::policy::{self, Decision};

/// How often the host is asked to look for updates.
const REFRESH: Duration = Duration::from_secs(120);

impl State {
    /// A look between updates: what is still owed to host and fleet, then whether an update may begin.
    pub(super) fn rest(&mut self, mut rest: Rest, facts: &Facts, now: Now) -> Vec<Effect> {
        if let Ok(board) = &facts.board {
            policy::learn(&mut self.memory, board);
        }
        policy::see(&mut self.memory, facts, now.wall);
        if let Some(retry) = &mut self.memory.retry {
            // The clock was wrong when it was set.
            retry.at = retry.at.min(now.wall.checked_add(MAX_RETRY).unwrap_or(Timestamp::MAX));
        }
        self.memory.running = Some(facts.running.clone());
        rest.chosen = policy::chosen(facts);
        let owed = self.owed(&rest, facts);
        if !owed.is_empty() {
            let trouble = rest.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
            rest.why =
                Some(Why::Waiting(format!("what may be left of an update is being settled{trouble}").into(), None));
            self.phase = Phase::Resting(rest);
            return owed;
        }
        let due = rest.refreshed.is_none_or(|last| now.boot.saturating_sub(last) >= REFRESH);
        let off = self.settings.mode == UpdateMode::Off;
        if due && !off && policy::somebody_else(&self.memory, facts).is_none() {
            self.phase = Phase::Resting(rest);
            return vec![Effect::Refresh];
        }
        match policy::decide(self, facts, now) {
            Decision::Rest(why) => {
                self.phase = Phase::Resting(Rest { why: Some(why), ..rest });
                Vec::new()
            }
            Decision::Begin(to) => {
                let intent = Intent {
                    from: facts.running.clone(),
                    to,
                    bank: facts.banks.active,
                    boot: facts.boot.clone(),
                    begun: now.wall,
                    baseline: Default::default(),
                    rest: Default::default(),
                };
                self.phase = Phase::Locking { intent, rest };
                vec![Effect::Acquire]
            }
        }
    }

    /// What the last update left to be done. Asked for at every look until it is done.
    pub(super) fn owed(&mut self, rest: &Rest, facts: &Facts) -> Vec<Effect> {
        let mut owed = Vec::new();
        if !rest.released {
            owed.push(Effect::Release);
        }
        owed.extend(self.owed_to_the_lock(facts));
        let memory = &self.memory;
        let untold = memory.untold.iter().filter_map(|version| Some((version, memory.rulings.get(version)?)));
        owed.extend(untold.map(|(version, ruling)| Effect::Rule(version.clone(), ruling.clone())));
        owed.extend(memory.outcome.clone().map(Effect::Report));
        owed.extend(memory.reset.map(Effect::Reset));
        owed
    }

    /// Keeps `version-lock` where a rollback wants it, and puts back what stood there when that is over. Whatever
    /// somebody else writes there in the meantime stands.
    pub(super) fn owed_to_the_lock(&mut self, facts: &Facts) -> Option<Effect> {
        let over = policy::pin_is_over(&self.memory, facts);
        let pin = self.memory.pin.as_mut()?;
        let found = facts.version_lock.as_deref().unwrap_or("latest");
        pin.lift |= over;
        match (pin.lift, pin.keeps(found)) {
            (true, true) if !pin.keeps(&pin.before) => Some(Effect::Pin(pin.before.clone())),
            (false, false) if !pin.set => {
                // Somebody may have been faster.
                found.clone_into(&mut pin.before);
                Some(Effect::Pin(pin.to.to_string()))
            }
            (false, true) => {
                pin.set = true;
                None
            }
            (true, _) | (false, false) => {
                self.memory.pin = None;
                None
            }
        }
    }
}
