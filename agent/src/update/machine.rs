//! The update as a state machine: pure, so that it can be read, drawn and tested whole.
//!
//! [`step`] takes where the update stands and what happened, and gives where it stands then and what is to be done. It
//! does nothing itself. `update::task` does what it is told, in order, and says what came of it.
//!
#![doc = include_str!("machine.md")]

use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::{UpdateState, UpdateStatus};
use jiff::Timestamp;
use semver::Version;

mod event;
mod place;
mod state;

pub use event::{Effect, Event, Facts, Glimpse, Trouble};
pub use place::Place;
pub use state::{
    BootId, End, Held, Intent, Memory, Now, OwnCommand, Past, Phase, Pin, Record, Rest, Retry, Stage, State, Step,
    Underway, Verdict, Why,
};

use super::boot::{Finding, classify, classify_blindly, failed_to_boot, rollback_barred, rollback_barred_by_banks};
use super::fleet::{Grant, Outcome, Ruling};
use super::policy::{self, Decision};
use super::verify::Report;
use crate::config::update::UpdateMode;

/// How often the host is asked to look for updates.
const REFRESH: Duration = Duration::from_secs(120);
/// The least time that other nodes are given to hear that this one drains.
const HEARD: Duration = Duration::from_secs(2);
/// How long a host that cannot be looked at is waited for, with the drain done and nobody served.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a host is asked to reboot into a new version before the update is called off.
const MAX_ASKED: u32 = 120;
/// How long after a boot the host's API is waited for before an update is judged without it.
const BLIND: Duration = Duration::from_secs(120);
/// How many boots a verdict may take.
const MAX_BOOTS: u32 = 3;
/// How often the banks may refuse to be turned back before a person has to look.
const MAX_FAILED: u32 = 10;
/// After an attempt that came to nothing; doubles with each.
const RETRY: Duration = Duration::from_secs(600);
/// The longest that gets.
const MAX_RETRY: Duration = Duration::from_secs(24 * 3600);
/// Updates that are remembered.
const MAX_PAST: usize = 20;

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

    /// The first look after the agent's start.
    fn woke(
        &mut self,
        underway: Option<(Intent, Stage)>,
        looked: Result<Box<Facts>, Trouble>,
        now: Now,
    ) -> Vec<Effect> {
        match (underway, looked) {
            (None, Ok(facts)) => self.woke_at_rest(&facts, now),
            (Some((intent, stage)), Ok(facts)) => {
                self.memory.running = Some(facts.running.clone());
                self.memory.unexplained = failed_to_boot(&facts);
                match classify(&intent, &stage, &facts) {
                    Finding::SameBoot | Finding::Updated if self.settings.mode != UpdateMode::Automatic => {
                        // What is prepared in this boot is undone; what runs is kept.
                        if !Self::was_rebooted(&stage) && intent.boot == facts.boot {
                            let activated = stage != Stage::Preparing;
                            return self.withdraw(intent, activated, "update.mode is no longer automatic");
                        }
                        self.end(&intent, End::Unjudged, "update.mode is no longer automatic", now)
                    }
                    Finding::SameBoot => self.goes_on(intent, stage),
                    Finding::Updated => self.booted(intent, stage, facts.boot, now),
                    Finding::FellBack => {
                        let why = "it did not get through its first boot, so the firmware took the old bank";
                        self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
                        self.taken_back(&intent, &facts, End::FellBack, why, now)
                    }
                    Finding::RolledBack => {
                        let verdict = self.memory.verdict.as_ref().filter(|verdict| verdict.version == intent.to);
                        let why = verdict.map_or_else(|| "it was found bad".into(), |verdict| verdict.why.clone());
                        self.taken_back(&intent, &facts, End::RolledBack, why, now)
                    }
                    Finding::TakenBack => {
                        self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
                        self.taken_back(&intent, &facts, End::TakenBack, "somebody else took it back", now)
                    }
                    Finding::NotActivated => {
                        self.end(&intent, End::Withdrawn, "it was cut short before its reboot", now)
                    }
                    Finding::Foreign(why) => self.end(&intent, End::Foreign, why, now),
                }
            }
            (None, Err(trouble)) if trouble.unsupported => {
                self.phase = Phase::Resting(Rest::default());
                Vec::new()
            }
            // Nobody could judge it, or take it back. Where there still are two banks, it is the new version's doing.
            (Some((intent, _)), Err(Trouble { why, unsupported: true, seen }))
                if seen.is_none() || self.settings.mode != UpdateMode::Automatic =>
            {
                self.end(&intent, End::Foreign, why, now)
            }
            // A version on which the host's API never comes up has to be judged, too.
            (Some((intent, stage)), Err(Trouble { seen: Some(seen), .. }))
                if now.boot >= BLIND && self.settings.mode == UpdateMode::Automatic =>
            {
                match classify_blindly(&intent, &stage, &seen) {
                    Some(Finding::SameBoot) => self.goes_on(intent, stage),
                    Some(_) => self.booted(intent, stage, seen.boot, now),
                    None => Vec::new(),
                }
            }
            (_, Err(_)) => Vec::new(),
        }
    }

    fn woke_at_rest(&mut self, facts: &Facts, now: Now) -> Vec<Effect> {
        self.phase = Phase::Resting(Rest::default());
        let ran = self.memory.running.replace(facts.running.clone());
        if let Some(from) = ran.filter(|ran| *ran != facts.running) {
            let why = "somebody else changed what runs".into();
            self.remember(Past { at: now.wall, from, to: facts.running.clone(), end: End::Foreign, why });
        }
        let unexplained = failed_to_boot(facts);
        if unexplained && !self.memory.unexplained {
            let why = format!(
                "bank {} failed to boot, and no journal says what was in it; look at it, then say resume",
                facts.banks.active.other()
            );
            self.hold(why, now);
        }
        self.memory.unexplained = unexplained;
        Vec::new()
    }

    /// Only the agent was restarted.
    fn goes_on(&mut self, intent: Intent, stage: Stage) -> Vec<Effect> {
        match stage {
            Stage::Verifying { boot, boots, since } => self.verify(intent, boot, boots, since),
            Stage::RollingBack => self.roll_back(intent),
            Stage::Preparing => self.withdraw(intent, false, "the agent was restarted in the middle"),
            Stage::Activating | Stage::Unknown => self.withdraw(intent, true, "the agent was restarted in the middle"),
        }
    }

    /// The new version was booted.
    fn booted(&mut self, intent: Intent, stage: Stage, boot: BootId, now: Now) -> Vec<Effect> {
        match stage {
            Stage::RollingBack => self.roll_back(intent),
            Stage::Verifying { boots, .. } if boots >= MAX_BOOTS => {
                let why = format!("the host rebooted {boots} times before there was a verdict");
                self.condemn(intent, why, Report::default(), now)
            }
            Stage::Verifying { boots, .. } => self.verify(intent, boot, boots.saturating_add(1), now.boot),
            Stage::Preparing | Stage::Activating | Stage::Unknown => self.verify(intent, boot, 1, now.boot),
        }
    }

    fn was_rebooted(stage: &Stage) -> bool {
        matches!(stage, Stage::Verifying { .. } | Stage::RollingBack)
    }

    /// A look between updates: what is still owed to host and fleet, then whether an update may begin.
    fn rest(&mut self, mut rest: Rest, facts: &Facts, now: Now) -> Vec<Effect> {
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
    fn owed(&mut self, rest: &Rest, facts: &Facts) -> Vec<Effect> {
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
    fn owed_to_the_lock(&mut self, facts: &Facts) -> Option<Effect> {
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

    /// An event of an update under way; `None` where it cannot happen.
    fn update(&mut self, intent: Intent, step: Step, event: Event, now: Now) -> Option<Vec<Effect>> {
        let activated = Stage::from(&step) == Stage::Activating;
        Some(match (step, event) {
            (Step::Preparing, Event::Prepared(Ok(status))) => {
                self.heard(&intent, &status);
                if !holds(&intent, &status, UpdateState::Staged) {
                    return Some(self.withdraw(intent, activated, "the host staged something else"));
                }
                self.go_on(intent, activated, Step::Measuring, Effect::Measure)
            }
            (Step::Measuring, Event::Measured(baseline)) => {
                let step = Step::Draining { since: now.boot, left: None };
                self.go_on(Intent { baseline, ..intent }, activated, step, Effect::Count)
            }
            (Step::Draining { since, left }, Event::Tick) => {
                self.go_on(intent, activated, Step::Draining { since, left }, Effect::Count)
            }
            (Step::Draining { since, left }, Event::Counted(count)) => {
                let (elapsed, deadline) = (now.boot.saturating_sub(since), self.settings.drain);
                let drained = count == Ok(0) && elapsed >= HEARD;
                let step = Step::Draining { since, left: count.ok().or(left) };
                if self.memory.held.is_some() || drained || elapsed >= deadline {
                    return Some(self.go_on(intent, activated, step, Effect::Look));
                }
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Draining { since, left }, Event::Looked(Err(trouble))) => {
                // Nobody is served meanwhile, so it is not waited for ever.
                if now.boot.saturating_sub(since) >= self.settings.drain + PATIENCE {
                    return Some(self.withdraw(intent, activated, trouble.why));
                }
                self.phase = Phase::Updating { intent, step: Step::Draining { since, left } };
                Vec::new()
            }
            (Step::Draining { .. }, Event::Looked(Ok(facts))) => {
                // Where several nodes update at one time, another may have found out by now.
                if let Ok(board) = &facts.board {
                    policy::learn(&mut self.memory, board);
                }
                if let Some(ruling) = policy::refusal(&self.memory, &intent.to) {
                    let why = format!("{} refused it: {}", ruling.by, ruling.why);
                    return Some(self.withdraw(intent, activated, why));
                }
                let staged = facts.updates.as_ref().is_some_and(|it| it.update_state == UpdateState::Staged);
                let untouched = staged
                    && policy::is_own(&self.memory, &facts)
                    && facts.banks.active == intent.bank
                    && facts.banks.next() == Some(intent.bank);
                if !untouched {
                    return Some(self.withdraw(intent, activated, "somebody else changed what is staged"));
                }
                self.go_on(intent, activated, Step::Activating, Effect::Activate)
            }
            (Step::Activating, Event::Activated(Ok(status))) => {
                self.heard(&intent, &status);
                if !holds(&intent, &status, UpdateState::Ready) {
                    return Some(self.withdraw(intent, activated, "the host made something else ready"));
                }
                self.go_on(intent, activated, Step::Rebooting { back: false, asked: 1 }, Effect::Reboot)
            }
            (Step::Preparing, Event::Prepared(Err(trouble))) | (Step::Activating, Event::Activated(Err(trouble))) => {
                self.withdraw(intent, activated, trouble.why)
            }

            (step @ Step::Rebooting { .. }, Event::Rebooting(Ok(()))) => {
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Rebooting { back: false, asked }, Event::Rebooting(Err(why))) if asked >= MAX_ASKED => {
                self.withdraw(intent, activated, format!("the host does not reboot: {why}"))
            }
            (step @ Step::Rebooting { .. }, Event::Rebooting(Err(_))) => {
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Rebooting { back: false, asked }, Event::Tick) if asked >= MAX_ASKED => {
                self.withdraw(intent, activated, "the host does not reboot")
            }
            (Step::Rebooting { back: false, asked }, Event::Tick) => {
                self.go_on(intent, activated, Step::Rebooting { back: false, asked: asked + 1 }, Effect::Reboot)
            }
            (Step::Rebooting { back: true, asked }, Event::Tick) => {
                let step = Step::Rebooting { back: true, asked: asked.saturating_add(1) };
                self.phase = Phase::Updating { intent, step };
                vec![Effect::Reboot]
            }

            (Step::Withdrawing { .. }, Event::Tick) => vec![Effect::Look],
            (
                Step::Withdrawing { why, activated, .. },
                Event::Looked(Err(trouble)) | Event::Deactivated(Err(trouble)),
            ) => {
                let step = Step::Withdrawing { why, activated, trouble: Some(trouble.why) };
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Withdrawing { .. }, Event::Deactivated(Ok(status))) => {
                self.heard(&intent, &status);
                // What was made ready in between, and is no longer, is somebody else's.
                self.memory.own.take_if(|own| own.staged != intent.to);
                vec![Effect::Look]
            }
            (Step::Withdrawing { why, activated, .. }, Event::Looked(Ok(facts))) => {
                if let Some(status) = &facts.updates {
                    // What came of a command whose end was not heard is this agent's own.
                    let unheard = self.memory.own.as_ref().is_none_or(|own| own.timestamp.is_none());
                    let state = if activated { UpdateState::Ready } else { UpdateState::Staged };
                    if unheard && (holds(&intent, status, state) || holds(&intent, status, UpdateState::Staged)) {
                        self.heard(&intent, status);
                    }
                    let ready = status.update_state == UpdateState::Ready;
                    if activated && ready && policy::is_own(&self.memory, &facts) {
                        return Some(self.command(Effect::Deactivate));
                    }
                }
                self.end(&intent, End::Withdrawn, why, now)
            }

            (step @ Step::Verifying { .. }, Event::Tick) => {
                let baseline = intent.baseline.clone();
                self.phase = Phase::Updating { intent, step };
                vec![Effect::Check(baseline)]
            }
            (Step::Verifying { boot, boots, since, settled, .. }, Event::Checked(report)) => {
                let settled = if report.good() { settled.or(Some(now.boot)) } else { None };
                let holds = settled.is_some_and(|since| now.boot.saturating_sub(since) >= self.settings.verify.settle);
                if holds {
                    return Some(self.approve(&intent, report, now));
                }
                if now.boot.saturating_sub(since) >= self.settings.verify.deadline {
                    let why = match report.checks.iter().find(|check| !check.ok) {
                        Some(check) => format!("{}: {}", check.name, check.found),
                        None => "its checks did not hold long enough before the deadline".to_owned(),
                    };
                    return Some(self.condemn(intent, why, report, now));
                }
                let step = Step::Verifying { boot, boots, since, settled, report: Some(report) };
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }

            (Step::RollingBack { .. }, Event::Tick) => vec![Effect::Look],
            (Step::RollingBack { failed, .. }, Event::Looked(Err(trouble))) => match trouble.seen {
                Some(seen) => match rollback_barred_by_banks(&intent, &seen.banks) {
                    Some(barred) => self.keep(&intent, format!("it cannot be taken back: {barred}"), now),
                    None => vec![Effect::RollBack],
                },
                None => self.stuck(intent, failed, trouble.why, now),
            },
            (Step::RollingBack { .. }, Event::Looked(Ok(facts))) => match rollback_barred(&intent, &facts) {
                Some(barred) => self.keep(&intent, format!("it cannot be taken back: {barred}"), now),
                None => vec![Effect::RollBack],
            },
            (Step::RollingBack { .. }, Event::RolledBack(Ok(banks))) if banks.next() == Some(intent.bank) => {
                self.phase = Phase::Updating { intent, step: Step::Rebooting { back: true, asked: 1 } };
                vec![Effect::Reboot]
            }
            (Step::RollingBack { failed, .. }, Event::RolledBack(result)) => {
                let why = result.err().unwrap_or_else(|| "signpost changed nothing".into());
                self.stuck(intent, failed, why, now)
            }
            _ => return None,
        })
    }

    /// The next step towards the reboot, unless a person holds updates meanwhile.
    fn go_on(&mut self, intent: Intent, activated: bool, step: Step, effect: Effect) -> Vec<Effect> {
        match &self.memory.held {
            Some(held) => {
                let why = format!("updates are held: {}", held.why);
                self.withdraw(intent, activated, why)
            }
            None => {
                self.phase = Phase::Updating { intent, step };
                self.command(effect)
            }
        }
    }

    /// Before the host's updater is told something: whatever is said of a command then may be said of this one.
    fn command(&mut self, effect: Effect) -> Vec<Effect> {
        if let (Effect::Prepare | Effect::Activate | Effect::Deactivate, Some(own)) = (&effect, &mut self.memory.own) {
            own.timestamp = None;
        }
        vec![effect]
    }

    /// The host's last command was this agent's.
    fn heard(&mut self, intent: &Intent, status: &UpdateStatus) {
        let staged = status.staging_partition.as_ref().and_then(|it| Version::parse(&it.image.version).ok());
        let timestamp = status.most_recent_command.as_ref().map(|command| command.timestamp.clone());
        self.memory.own = staged.map(|staged| OwnCommand { boot: intent.boot.clone(), timestamp, staged });
    }

    fn withdraw(&mut self, intent: Intent, activated: bool, why: impl Into<Arc<str>>) -> Vec<Effect> {
        let step = Step::Withdrawing { why: why.into(), activated, trouble: None };
        self.phase = Phase::Updating { intent, step };
        vec![Effect::Look]
    }

    fn verify(&mut self, intent: Intent, boot: BootId, boots: u32, since: Duration) -> Vec<Effect> {
        let baseline = intent.baseline.clone();
        let step = Step::Verifying { boot, boots, since, settled: None, report: None };
        self.phase = Phase::Updating { intent, step };
        vec![Effect::Check(baseline)]
    }

    fn roll_back(&mut self, intent: Intent) -> Vec<Effect> {
        self.phase = Phase::Updating { intent, step: Step::RollingBack { failed: 0, trouble: None } };
        vec![Effect::Look]
    }

    fn stuck(&mut self, intent: Intent, failed: u32, why: Arc<str>, now: Now) -> Vec<Effect> {
        if failed + 1 >= MAX_FAILED {
            return self.keep(&intent, format!("it cannot be taken back: {why}"), now);
        }
        let step = Step::RollingBack { failed: failed + 1, trouble: Some(why) };
        self.phase = Phase::Updating { intent, step };
        Vec::new()
    }

    /// The new version is good.
    fn approve(&mut self, intent: &Intent, report: Report, now: Now) -> Vec<Effect> {
        let why: Arc<str> = "every check held".into();
        self.memory.verdict =
            Some(Verdict { version: intent.to.clone(), good: true, at: now.wall, why: why.clone(), report });
        self.end(intent, End::Good, why, now)
    }

    /// The new version is bad: never again, and back, if that is still allowed.
    fn condemn(&mut self, intent: Intent, why: String, report: Report, now: Now) -> Vec<Effect> {
        let why = policy::sentence(&why);
        self.memory.verdict =
            Some(Verdict { version: intent.to.clone(), good: false, at: now.wall, why: why.clone(), report });
        self.rule(intent.to.clone(), true, why.clone(), now);
        let max = self.settings.max_rollbacks;
        if self.memory.rollbacks >= max {
            return self.keep(&intent, format!("{why}; no rollback is left (update.max_rollbacks is {max})"), now);
        }
        self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
        // The fleet hears of it first: nobody else should begin with this version while the host reboots.
        let told = self.memory.rulings.get(&intent.to).cloned();
        let tell = told.map(|ruling| Effect::Rule(intent.to.clone(), ruling));
        tell.into_iter().chain(self.roll_back(intent)).collect()
    }

    /// A bad version has to stay. Nothing more is tried until a person has looked.
    fn keep(&mut self, intent: &Intent, why: String, now: Now) -> Vec<Effect> {
        self.hold(format!("{} runs and is bad: {why}", intent.to), now);
        self.end(intent, End::Kept, why, now)
    }

    /// The old version runs again: it is refused from now on, and other updaters are kept from it.
    fn taken_back(
        &mut self,
        intent: &Intent,
        facts: &Facts,
        end: End,
        why: impl Into<Arc<str>>,
        now: Now,
    ) -> Vec<Effect> {
        let why = why.into();
        if policy::refusal(&self.memory, &intent.to).is_none() {
            self.rule(intent.to.clone(), true, why.clone(), now);
        }
        let found = facts.version_lock.as_deref().unwrap_or("latest");
        // A lock that this agent set before is not what stood there.
        let own = self.memory.pin.take().filter(|pin| pin.keeps(found));
        let before = own.map_or_else(|| found.to_owned(), |pin| pin.before);
        self.memory.pin = Some(Pin { to: facts.running.clone(), before, set: false, lift: false });
        let (rollbacks, max) = (self.memory.rollbacks, self.settings.max_rollbacks);
        if rollbacks > 0 && rollbacks >= max {
            self.hold(format!("{rollbacks} updates were taken back (update.max_rollbacks is {max})"), now);
        }
        self.end(intent, end, why, now)
    }

    /// An update is over, whatever way.
    fn end(&mut self, intent: &Intent, end: End, why: impl Into<Arc<str>>, now: Now) -> Vec<Effect> {
        let (version, at, why) = (intent.to.clone(), now.wall, why.into());
        self.memory.outcome = match end {
            End::Good => Some(Outcome { version: version.clone(), good: true, at }),
            End::FellBack | End::RolledBack | End::TakenBack | End::Kept => {
                Some(Outcome { version: version.clone(), good: false, at })
            }
            End::Withdrawn | End::Unjudged | End::Foreign => self.memory.outcome.take(),
        };
        self.memory.retry = match (end, self.memory.retry.take()) {
            (End::Withdrawn | End::Foreign, before) => Some(retry(before, version, why.clone(), at)),
            (_, before) => before.filter(|before| before.version != version),
        };
        self.remember(Past { at, from: intent.from.clone(), to: intent.to.clone(), end, why });
        self.phase = Phase::Resting(Rest::default());
        Vec::new()
    }

    fn remember(&mut self, past: Past) {
        let history = &mut self.memory.history;
        history.push(past);
        history.drain(..history.len().saturating_sub(MAX_PAST));
    }

    fn hold(&mut self, why: String, now: Now) {
        self.memory.held.get_or_insert(Held { why: policy::sentence(&why), since: now.wall });
    }

    fn rule(&mut self, version: Version, refused: bool, why: Arc<str>, now: Now) {
        let at = policy::newer_than(self.memory.rulings.get(&version), now.wall);
        self.memory.rulings.insert(version.clone(), Ruling { refused, at, by: self.node.clone(), why });
        self.memory.untold.insert(version);
    }
}

/// Whether the host's updater is in this state with this update.
fn holds(intent: &Intent, status: &UpdateStatus, state: UpdateState) -> bool {
    let staged = status.staging_partition.as_ref().map(|staged| staged.image.version.as_str());
    status.update_state == state && staged == Some(intent.to.to_string().as_str())
}

fn retry(before: Option<Retry>, version: Version, why: Arc<str>, now: Timestamp) -> Retry {
    let before = before.filter(|before| before.version == version).map_or(0, |before| before.attempts);
    let pause = RETRY.saturating_mul(1 << before.min(16)).min(MAX_RETRY);
    let attempts = before.saturating_add(1);
    Retry { version, attempts, at: now.checked_add(pause).unwrap_or(Timestamp::MAX), why }
}

#[cfg(test)]
mod tests;
