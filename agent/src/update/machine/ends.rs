//! Verdicts, and how an update ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use super::{Effect, End, Facts, Held, Intent, Now, Past, Phase, Pin, Rest, Retry, State, Verdict};
use crate::update::fleet::{Outcome, Ruling};
use crate::update::policy;
use crate::update::verify::Report;

/// After an attempt that came to nothing; doubles with each.
const RETRY: Duration = Duration::from_secs(600);
/// The longest that gets.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(24 * 3600);
/// Updates that are remembered.
const MAX_PAST: usize = 20;

impl State {
    /// The new version is good.
    pub(super) fn approve(&mut self, intent: &Intent, report: Report, now: Now) -> Vec<Effect> {
        let why: Arc<str> = "every check held".into();
        self.memory.verdict =
            Some(Verdict { version: intent.to.clone(), good: true, at: now.wall, why: why.clone(), report });
        self.end(intent, End::Good, why, now)
    }

    /// The new version is bad: never again, and back, if that is still allowed.
    pub(super) fn condemn(&mut self, intent: Intent, why: String, report: Report, now: Now) -> Vec<Effect> {
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
    pub(super) fn keep(&mut self, intent: &Intent, why: String, now: Now) -> Vec<Effect> {
        self.hold(format!("{} runs and is bad: {why}", intent.to), now);
        self.end(intent, End::Kept, why, now)
    }

    /// The old version runs again: it is refused from now on, and other updaters are kept from it.
    pub(super) fn taken_back(
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
    pub(super) fn end(&mut self, intent: &Intent, end: End, why: impl Into<Arc<str>>, now: Now) -> Vec<Effect> {
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

    pub(super) fn remember(&mut self, past: Past) {
        let history = &mut self.memory.history;
        history.push(past);
        history.drain(..history.len().saturating_sub(MAX_PAST));
    }

    pub(super) fn hold(&mut self, why: String, now: Now) {
        self.memory.held.get_or_insert(Held { why: policy::sentence(&why), since: now.wall });
    }

    pub(super) fn rule(&mut self, version: Version, refused: bool, why: Arc<str>, now: Now) {
        let at = policy::newer_than(self.memory.rulings.get(&version), now.wall);
        self.memory.rulings.insert(version.clone(), Ruling { refused, at, by: self.node.clone(), why });
        self.memory.untold.insert(version);
    }
}

fn retry(before: Option<Retry>, version: Version, why: Arc<str>, now: Timestamp) -> Retry {
    let before = before.filter(|before| before.version == version).map_or(0, |before| before.attempts);
    let pause = RETRY.saturating_mul(1 << before.min(16)).min(MAX_RETRY);
    let attempts = before.saturating_add(1);
    Retry { version, attempts, at: now.checked_add(pause).unwrap_or(Timestamp::MAX), why }
}
