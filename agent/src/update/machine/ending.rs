//! How an update ends, and what is remembered of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use super::effect::Effect;
use super::facts::Facts;
use super::policy;
use super::record::{End, Hold, Intent, PastUpdate, Retry, VersionPin};
use super::state::{Now, Progress, Standby, State};
use crate::clients::backoff::Backoff;
use crate::update::fleet::{Outcome, Ruling};

/// The longest time until an attempt that came to nothing is made again.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(24 * 3600);
/// When it is.
const RETRY: Backoff = Backoff::new(Duration::from_secs(600), MAX_RETRY);
/// Updates that are remembered.
const MAX_PAST: usize = 20;

impl State {
    /// The old version runs again: the new one is refused from now on, and other updaters are kept from it.
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
        self.memory.pin = Some(VersionPin { to: facts.running.clone(), before, set: false, lift: false });
        let (rollbacks, max) = (self.memory.rollbacks, self.settings.max_rollbacks);
        if rollbacks > 0 && rollbacks >= max {
            self.hold(format!("{rollbacks} updates were taken back (update.max_rollbacks is {max})"), now);
        }
        self.end(intent, end, why, now)
    }

    /// An update is over.
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
        self.remember(PastUpdate { at, from: intent.from.clone(), to: intent.to.clone(), end, why });
        self.progress = Progress::Standby(Standby::default());
        Vec::new()
    }

    pub(super) fn remember(&mut self, past: PastUpdate) {
        let history = &mut self.memory.history;
        history.push(past);
        history.drain(..history.len().saturating_sub(MAX_PAST));
    }

    pub(super) fn hold(&mut self, why: String, now: Now) {
        self.memory.held.get_or_insert(Hold { why: policy::sentence(&why), since: now.wall });
    }

    pub(super) fn rule(&mut self, version: Version, refused: bool, why: Arc<str>, now: Now) {
        let at = policy::newer_than(self.memory.rulings.get(&version), now.wall);
        self.memory.rulings.insert(version.clone(), Ruling { refused, at, by: self.node.clone(), why });
        self.memory.untold.insert(version);
    }
}

fn retry(before: Option<Retry>, version: Version, why: Arc<str>, now: Timestamp) -> Retry {
    let before = before.filter(|before| before.version == version).map_or(0, |before| before.attempts);
    let at = now.checked_add(RETRY.after(before)).unwrap_or(Timestamp::MAX);
    Retry { version, attempts: before.saturating_add(1), at, why }
}
