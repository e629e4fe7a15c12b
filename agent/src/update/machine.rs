//! The update as a state machine: pure, so that it can be read, drawn and tested whole.
//!
//! [`step`] takes where the update is and what happened ([`Event`]), [`obey`] what a person asks ([`Command`]); both give
//! where the update is then and what is to be done ([`Effect`]). Neither does anything itself. `update::task` does what
//! it is told, in order, and says what came of it.
//!
//! Each state has a file of its name, with everything that leads out of it. Below them: `phase` and `record` are plain
//! words, `state` and `facts` are what the machine goes by, `policy` and `boot` its two judgements.
//!
#![doc = include_str!("machine.md")]

use std::sync::Arc;

mod activating;
pub mod boot;
mod command;
mod draining;
mod effect;
mod ending;
mod event;
mod facts;
mod kind;
mod locking;
mod phase;
pub mod policy;
mod preparing;
mod rebooting;
mod record;
mod rolling_back;
mod standby;
mod starting;
mod state;
mod timer;
mod unsupported;
mod updating;
mod verifying;
mod withdrawing;

pub use command::Command;
pub use effect::Effect;
pub use event::Event;
pub use facts::{Facts, Failure, PartialFacts};
pub use kind::ProgressKind;
pub use phase::Phase;
pub use record::{
    BootId, Checkpoint, End, Hold, Intent, Memory, OwnCommand, PastUpdate, Record, Retry, Underway, Verdict, VersionPin,
};
pub use state::{Now, Progress, Reason, Standby, State, Step};

/// Something happened that cannot happen there. The state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen while {at}; the update stays where it is")]
pub struct Illegal {
    /// Where.
    pub at: ProgressKind,
    /// What.
    pub event: &'static str,
}

/// The next state, and what is to be done, in this order.
///
/// What changes in the journal is recorded before anything else is done. Where that fails, nothing else is done either,
/// and is asked for again at the next tick; only a version that is being judged or taken back is judged and taken back
/// all the same, for it may be the very reason why the disk cannot be written.
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
    let effects = next.on(event, now)?;
    Ok(recorded_first(state, next, effects))
}

/// The state once a person is heard, and what is to be done for it: the journal alone. What the command leads to comes
/// with the next event.
#[must_use]
pub fn obey(state: &State, command: Command, now: Now) -> (State, Vec<Effect>) {
    let mut next = state.clone();
    next.command(command, now);
    recorded_first(state, next, Vec::new())
}

/// Puts the journal before everything else that is to be done, where it changes or is behind.
fn recorded_first(before: &State, mut next: State, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    next.telling.extend(effects.iter().filter_map(|effect| match effect {
        Effect::Rule(version, ruling) => Some((version.clone(), ruling.at)),
        _ => None,
    }));
    let record = next.record();
    if record != before.record() || !(next.recorded || effects.is_empty()) {
        let essential = !effects.is_empty() && next.needs_the_journal();
        effects.insert(0, Effect::Record { record: Box::new(record), essential });
        next.recorded = true;
    }
    (next, effects)
}

impl State {
    fn on(&mut self, event: Event, now: Now) -> Result<Vec<Effect>, Illegal> {
        let illegal = Illegal { at: ProgressKind::of(&self.progress), event: event.name() };
        let event = match self.heard_by_the_fleet(event) {
            None => return Ok(Vec::new()),
            Some(event) => event,
        };
        let effects = match self.progress.clone() {
            Progress::Starting(underway) => self.starting(underway, event, now),
            Progress::Unsupported(_) => self.unsupported(event),
            Progress::Standby(standby) => self.standby(standby, event, now),
            Progress::Locking { intent, standby } => self.locking(intent, standby, event, now),
            Progress::Updating { intent, step } => self.updating(intent, step, event, now),
        };
        effects.ok_or(illegal)
    }

    /// Whether the fleet was told something, which may happen at any time and moves nothing; the event itself if it is
    /// none of these.
    fn heard_by_the_fleet(&mut self, event: Event) -> Option<Event> {
        let memory = &mut self.memory;
        match event {
            Event::Ruled(version, told) => {
                let said = self.telling.remove(&version);
                if told.is_ok() && said == memory.rulings.get(&version).map(|ruling| ruling.at) {
                    memory.untold.remove(&version);
                }
                self.told(told);
            }
            Event::Reported(told) => {
                memory.outcome.take_if(|_| told.is_ok());
                self.told(told);
            }
            Event::BreakerReset(told) => {
                memory.reset.take_if(|_| told.is_ok());
                self.told(told);
            }
            event => return Some(event),
        }
        None
    }

    /// The journal could not be written.
    fn not_recorded(&mut self, why: Arc<str>) {
        let why: Arc<str> = format!("the journal cannot be written: {why}").into();
        let waiting = |standby| Standby { reason: Some(Reason::Waiting(why.clone(), None)), ..standby };
        self.progress = match self.progress.clone() {
            Progress::Standby(standby) => Progress::Standby(waiting(standby)),
            // Nothing was done for it but to ask for the lock.
            Progress::Locking { .. } | Progress::Updating { step: Step::Preparing, .. } => {
                Progress::Standby(waiting(Standby::default()))
            }
            Progress::Updating { intent, step: Step::Measuring | Step::Draining { .. } | Step::Activating } => {
                Progress::Updating { intent, step: Step::Withdrawing { why, activated: false, failure: None } }
            }
            progress => progress,
        };
    }

    fn needs_the_journal(&self) -> bool {
        match &self.progress {
            Progress::Starting(_) | Progress::Unsupported(_) => false,
            Progress::Standby(_) | Progress::Locking { .. } => true,
            Progress::Updating { step, .. } => match step {
                Step::Preparing | Step::Measuring | Step::Draining { .. } | Step::Activating => true,
                // A reboot that was written down already, or a way back.
                Step::Rebooting { .. } | Step::RebootingBack { .. } | Step::Withdrawing { .. } => false,
                Step::Verifying { .. } | Step::RollingBack { .. } => false,
            },
        }
    }
}

#[cfg(test)]
mod tests;
