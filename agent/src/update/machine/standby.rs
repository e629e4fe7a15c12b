//! Standby, which people see as off, idle, waiting or held: no update is under way. What is still owed to host and fleet
//! is done, and whether an update may begin is looked at.

use std::time::Duration;

use jiff::Timestamp;

use super::effect::Effect;
use super::ending::MAX_RETRY;
use super::event::Event;
use super::facts::{Facts, Failure};
use super::policy::{self, Decision};
use super::record::Intent;
use super::state::{Now, Progress, Reason, Standby, State};
use crate::config::update::UpdateMode;

/// How often the host is asked to look for updates.
const REFRESH: Duration = Duration::from_secs(120);

impl State {
    pub(super) fn standby(&mut self, standby: Standby, event: Event, now: Now) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Tick => vec![Effect::Look],
            Event::Looked(Ok(facts)) => self.next_from_standby(standby, &facts, now),
            Event::Looked(Err(failure)) => self.look_failed(standby, failure),
            // Asked for again at the next look, as it would have been a moment earlier or later.
            Event::Refreshed(Err(failure)) if failure.busy => self.look_failed(standby, failure),
            Event::Refreshed(result) => {
                let failure = result.err().map(|failure| failure.why);
                let (refreshed, refreshed_at) = (Some(now.boot), Some(now.wall));
                self.progress = Progress::Standby(Standby { refreshed, refreshed_at, failure, ..standby });
                vec![Effect::Look]
            }
            Event::Released(result) => {
                let (released, reason) = (result.is_ok(), standby.reason.clone().filter(|_| result.is_err()));
                self.progress = Progress::Standby(Standby { released, reason, failure: result.err(), ..standby });
                Vec::new()
            }
            Event::Pinned(result) => {
                // What is on offer is another thing by now.
                let reason = standby.reason.clone().filter(|_| result.is_err());
                let failure = result.err();
                self.progress = Progress::Standby(Standby { reason, failure, refreshed: None, ..standby });
                Vec::new()
            }
            _ => return None,
        })
    }

    fn look_failed(&mut self, standby: Standby, failure: Failure) -> Vec<Effect> {
        if !failure.unsupported {
            let reason = Reason::Waiting(format!("the host cannot be looked at: {failure}").into(), None);
            self.progress = Progress::Standby(Standby { reason: Some(reason), ..standby });
            return Vec::new();
        }
        // The lock is given back first.
        if !standby.released {
            let reason = Some(Reason::Waiting(failure.why, None));
            self.progress = Progress::Standby(Standby { reason, ..standby });
            return vec![Effect::Release];
        }
        self.progress = Progress::Unsupported(failure.why);
        Vec::new()
    }

    /// What is still owed to host and fleet; then whether an update may begin.
    fn next_from_standby(&mut self, mut standby: Standby, facts: &Facts, now: Now) -> Vec<Effect> {
        if let Ok(board) = &facts.board {
            policy::learn(&mut self.memory, board);
        }
        policy::note_offered(&mut self.memory, facts, now.wall);
        if let Some(retry) = &mut self.memory.retry {
            // The clock was wrong when it was set.
            retry.at = retry.at.min(now.wall.checked_add(MAX_RETRY).unwrap_or(Timestamp::MAX));
        }
        self.memory.running = Some(facts.running.clone());
        standby.chosen = policy::chosen(facts);
        let owed = self.owed(&standby, facts);
        if !owed.is_empty() {
            let failure = standby.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
            let why = format!("what may be left of an update is being settled{failure}");
            standby.reason = Some(Reason::Waiting(why.into(), None));
            self.progress = Progress::Standby(standby);
            return owed;
        }
        let due = standby.refreshed.is_none_or(|last| now.boot.saturating_sub(last) >= REFRESH);
        let off = self.settings.mode == UpdateMode::Off;
        if due && !off && policy::somebody_else(&self.memory, facts).is_none() {
            self.progress = Progress::Standby(standby);
            return vec![Effect::Refresh];
        }
        match policy::decide(self, facts, now) {
            Decision::Stay(reason) => {
                self.progress = Progress::Standby(Standby { reason: Some(reason), ..standby });
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
                    unknown: Default::default(),
                };
                self.progress = Progress::Locking { intent, standby };
                vec![Effect::Acquire]
            }
        }
    }

    /// What the last update left to be done. Asked for at every look until it is done.
    fn owed(&mut self, standby: &Standby, facts: &Facts) -> Vec<Effect> {
        let mut owed = Vec::new();
        if !standby.released {
            owed.push(Effect::Release);
        }
        owed.extend(self.owed_to_the_version_lock(facts));
        let memory = &self.memory;
        let untold = memory.untold.iter().filter_map(|version| Some((version, memory.rulings.get(version)?)));
        owed.extend(untold.map(|(version, ruling)| Effect::Rule(version.clone(), ruling.clone())));
        owed.extend(memory.outcome.clone().map(Effect::Report));
        owed.extend(memory.reset.map(Effect::Reset));
        owed
    }

    /// Keeps `version-lock` where a rollback wants it, and puts back what stood there when that is over. What somebody
    /// else writes there in the meantime stands.
    fn owed_to_the_version_lock(&mut self, facts: &Facts) -> Option<Effect> {
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

    /// Something that was owed was told, and what is next is looked at without a pause; or why it was not.
    pub(super) fn told(&mut self, told: Result<(), std::sync::Arc<str>>) {
        if let Progress::Standby(standby) = &mut self.progress {
            standby.reason.take_if(|_| told.is_ok());
            standby.failure = told.err();
        }
    }
}
