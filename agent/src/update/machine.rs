//! The update as a state machine: pure, so that it can be read, drawn and tested whole.
//!
//! [`step`] takes where the update stands and what happened, and gives where it stands then and what is to be done. It
//! does nothing itself. `update::task` does what it is told, in order, and says what came of it.
//!
#![doc = include_str!("machine.md")]

use std::sync::Arc;
use std::time::Duration;

mod ends;
mod event;
mod place;
mod rest;
mod state;
mod steps;
mod wake;

pub use event::{Effect, Event, Facts, Glimpse, Trouble};
pub use place::Place;
pub use state::{
    BootId, End, Held, Intent, Memory, Now, OwnCommand, Past, Phase, Pin, Record, Rest, Retry, Stage, State, Step,
    Underway, Verdict, Why,
};

use super::fleet::Grant;
use super::policy::{self, Decision};

/// Something happened that cannot happen there. The state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen while {place}; the update stays where it is")]
pub struct Illegal {
    /// Where.
    pub place: Place,
    /// What.
    pub event: &'static str,
}

/// The next state, and what is to be done, in this order.
///
/// Whatever changes in the journal is recorded before anything else is done. Where that fails, nothing else is done
/// either, and is asked for again at the next tick; only a version that is being judged or taken back is judged and
/// taken back all the same, for it may be the very reason why the disk cannot be written.
///
/// # Errors
/// [`Illegal`] where the event cannot happen.
pub fn step(state: &State, event: Event, now: Now) -> Result<(State, Vec<Effect>), Illegal> {
    let mut next = state.clone();
    if let Event::NotRecorded { why, essential } = event {
        next.recorded = false;
        if essential {
            next.not_recorded(why);
        }
        return Ok((next, Vec::new()));
    }
    let mut effects = next.on(event, now)?;
    next.telling.extend(effects.iter().filter_map(|effect| match effect {
        Effect::Rule(version, ruling) => Some((version.clone(), ruling.at)),
        _ => None,
    }));
    let record = next.record();
    if record != state.record() || !(state.recorded || effects.is_empty()) {
        let essential = !effects.is_empty() && next.needs_the_journal();
        effects.insert(0, Effect::Record { record: Box::new(record), essential });
        next.recorded = true;
    }
    Ok((next, effects))
}

impl State {
    /// How long nothing may happen before the next [`Event::Tick`], once everything is done.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_secs(match &self.phase {
            Phase::Starting(_) => 2,
            Phase::Unsupported(_) => 300,
            Phase::Resting(Rest { why: None, .. }) => 0,
            Phase::Resting(Rest { why: Some(Why::Idle(_)), .. }) => 30,
            Phase::Resting(_) | Phase::Locking { .. } => 10,
            Phase::Updating { step, .. } => match step {
                Step::Preparing | Step::Measuring | Step::Activating => 10,
                Step::Draining { .. } => 1,
                Step::Rebooting { .. } => 15,
                Step::Withdrawing { .. } | Step::RollingBack { .. } => 5,
                Step::Verifying { .. } => 2,
            },
        })
    }

    fn needs_the_journal(&self) -> bool {
        match &self.phase {
            Phase::Starting(_) | Phase::Unsupported(_) => false,
            Phase::Resting(_) | Phase::Locking { .. } => true,
            Phase::Updating { step, .. } => match step {
                Step::Preparing | Step::Measuring | Step::Draining { .. } | Step::Activating => true,
                // A reboot that was written down already, or a way back.
                Step::Rebooting { .. } | Step::Withdrawing { .. } => false,
                Step::Verifying { .. } | Step::RollingBack { .. } => false,
            },
        }
    }

    fn on(&mut self, event: Event, now: Now) -> Result<Vec<Effect>, Illegal> {
        let illegal = Illegal { place: Place::of(&self.phase), event: event.name() };
        let event = match self.anywhere(event, now) {
            None => return Ok(Vec::new()),
            Some(event) => event,
        };
        match (self.phase.clone(), event) {
            (Phase::Starting(_) | Phase::Unsupported(_) | Phase::Resting(_), Event::Tick) => Ok(vec![Effect::Look]),

            (Phase::Starting(underway), Event::Looked(looked)) => Ok(self.woke(underway, looked, now)),
            (Phase::Unsupported(_), Event::Looked(Ok(_))) => {
                self.phase = Phase::Resting(Rest::default());
                Ok(Vec::new())
            }
            // The lock is given back first.
            (Phase::Resting(rest), Event::Looked(Err(trouble))) if trouble.unsupported && !rest.released => {
                self.phase = Phase::Resting(Rest { why: Some(Why::Waiting(trouble.why, None)), ..rest });
                Ok(vec![Effect::Release])
            }
            (Phase::Resting(_) | Phase::Unsupported(_), Event::Looked(Err(trouble))) if trouble.unsupported => {
                self.phase = Phase::Unsupported(trouble.why);
                Ok(Vec::new())
            }
            (Phase::Unsupported(_), Event::Looked(Err(_))) => Ok(Vec::new()),
            (Phase::Resting(rest), Event::Looked(Err(trouble))) => {
                let why = Why::Waiting(format!("the host cannot be looked at: {trouble}").into(), None);
                self.phase = Phase::Resting(Rest { why: Some(why), ..rest });
                Ok(Vec::new())
            }
            (Phase::Resting(rest), Event::Looked(Ok(facts))) => Ok(self.rest(rest, &facts, now)),
            (Phase::Resting(rest), Event::Refreshed(result)) => {
                let trouble = result.err().map(|trouble| trouble.why);
                let (refreshed, refreshed_at) = (Some(now.boot), Some(now.wall));
                self.phase = Phase::Resting(Rest { refreshed, refreshed_at, trouble, ..rest });
                Ok(vec![Effect::Look])
            }
            (Phase::Resting(rest), Event::Released(result)) => {
                let (released, why) = (result.is_ok(), rest.why.clone().filter(|_| result.is_err()));
                self.phase = Phase::Resting(Rest { released, why, trouble: result.err(), ..rest });
                Ok(Vec::new())
            }
            (Phase::Resting(rest), Event::Pinned(result)) => {
                // What is on offer is another thing by now.
                let why = rest.why.clone().filter(|_| result.is_err());
                self.phase = Phase::Resting(Rest { why, trouble: result.err(), refreshed: None, ..rest });
                Ok(Vec::new())
            }

            // It may have waited long: nothing may speak against it now either.
            (Phase::Locking { .. }, Event::Granted(Ok(Grant::Granted))) => Ok(vec![Effect::Look]),
            (Phase::Locking { intent, rest }, Event::Looked(looked)) => {
                let facts = looked.ok();
                if let Some(Ok(board)) = facts.as_ref().map(|facts| &facts.board) {
                    policy::learn(&mut self.memory, board);
                }
                let decision = facts.map(|facts| policy::decide(self, &facts, now));
                if decision == Some(Decision::Begin(intent.to.clone())) {
                    self.phase = Phase::Updating { intent, step: Step::Preparing };
                    return Ok(self.command(Effect::Prepare));
                }
                self.phase = Phase::Resting(Rest { released: false, why: None, ..rest });
                Ok(Vec::new())
            }
            (Phase::Locking { rest, .. }, Event::Granted(Ok(Grant::Refused(why)))) => {
                let why = Some(Why::Waiting(format!("not this node's turn: {why}").into(), None));
                self.phase = Phase::Resting(Rest { why, ..rest });
                Ok(Vec::new())
            }
            (Phase::Locking { rest, .. }, Event::Granted(Err(trouble))) => {
                // It may have been granted all the same.
                let why = Some(Why::Waiting(format!("the fleet's lock cannot be had: {trouble}").into(), None));
                self.phase = Phase::Resting(Rest { why, released: false, ..rest });
                Ok(Vec::new())
            }

            (Phase::Updating { intent, step }, event) => self.update(intent, step, event, now).ok_or(illegal),
            _ => Err(illegal),
        }
    }

    /// The journal could not be written.
    fn not_recorded(&mut self, why: Arc<str>) {
        let why: Arc<str> = format!("the journal cannot be written: {why}").into();
        let waiting = |rest| Rest { why: Some(Why::Waiting(why.clone(), None)), ..rest };
        self.phase = match self.phase.clone() {
            Phase::Resting(rest) => Phase::Resting(waiting(rest)),
            // Nothing was done for it but to ask for the lock.
            Phase::Locking { .. } | Phase::Updating { step: Step::Preparing, .. } => {
                Phase::Resting(waiting(Rest::default()))
            }
            Phase::Updating { intent, step: Step::Measuring | Step::Draining { .. } | Step::Activating } => {
                Phase::Updating { intent, step: Step::Withdrawing { why, activated: false, trouble: None } }
            }
            phase => phase,
        };
    }

    /// What may happen at any time and moves nothing; the event itself if it is none of these.
    fn anywhere(&mut self, event: Event, now: Now) -> Option<Event> {
        let memory = &mut self.memory;
        match event {
            Event::Hold(why) => memory.held = Some(Held { why: policy::sentence(&why), since: now.wall }),
            Event::Resume => {
                (memory.held, memory.retry, memory.rollbacks) = (None, None, 0);
                memory.reset = Some(now.wall);
                if let Some(pin) = &mut memory.pin {
                    pin.lift = true;
                }
                self.look_anew();
            }
            Event::Allow(version) => {
                let why = Arc::from("allowed again by hand");
                memory.retry.take_if(|retry| retry.version == version);
                self.rule(version, false, why, now);
                self.look_anew();
            }
            Event::Check => self.look_anew(),
            Event::Ruled(version, told) => {
                let said = self.telling.remove(&version);
                if told.is_ok() && said == memory.rulings.get(&version).map(|ruling| ruling.at) {
                    memory.untold.remove(&version);
                }
                self.settled(told);
            }
            Event::Reported(told) => {
                memory.outcome.take_if(|_| told.is_ok());
                self.settled(told);
            }
            Event::BreakerReset(told) => {
                memory.reset.take_if(|_| told.is_ok());
                self.settled(told);
            }
            event => return Some(event),
        }
        None
    }

    /// Something that was owed was told, and what is next is looked at without a pause; or why it was not.
    fn settled(&mut self, told: Result<(), Arc<str>>) {
        if let Phase::Resting(rest) = &mut self.phase {
            rest.why.take_if(|_| told.is_ok());
            rest.trouble = told.err();
        }
    }

    fn look_anew(&mut self) {
        if let Phase::Resting(rest) = &mut self.phase {
            (rest.refreshed, rest.why) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests;
