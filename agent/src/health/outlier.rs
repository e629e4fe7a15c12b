//! Passive outlier detection: which endpoints real connections fail to reach. Pure; time is given.
//!
//! The figures are ECS Service Connect's: five failed connections within 30 s avoid an endpoint for 30 s, doubling up
//! to 300 s. How many endpoints of a service may be avoided at once is decided elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Ejection, Ejections, Target};

/// Failures that eject.
const FAILURES: usize = 5;
/// Within this time.
const WINDOW: Duration = Duration::from_secs(30);
/// How long the first ejection holds.
const FIRST_EJECTION: Duration = Duration::from_secs(30);
/// How long any ejection holds at most.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// Each such time without an ejection halves the next one.
const DECAY: Duration = Duration::from_secs(60);
/// The most endpoints that are remembered; failures of further ones are not counted.
const MAX_TRACKED: usize = 65_536;

/// How a connection failed to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// It was refused.
    Refused,
    /// Nobody answered.
    Unanswered,
}

/// Counts failures and decides who is ejected.
#[derive(Debug, Default)]
pub struct OutlierTracker {
    records: BTreeMap<Target, FailureRecord>,
    ejected: Ejections,
}

#[derive(Debug, Default)]
struct FailureRecord {
    /// Recent failures, oldest first; fewer than [`FAILURES`].
    failures: VecDeque<Instant>,
    /// How many ejections followed one another, decay already taken off at `since`.
    level: u32,
    /// When the last ejection ended, or the level was last taken down.
    since: Option<Instant>,
}

impl FailureRecord {
    fn forget_old(&mut self, now: Instant) {
        while self.failures.front().is_some_and(|at| *at + WINDOW <= now) {
            self.failures.pop_front();
        }
        while let Some(since) = self.since
            && self.level > 0
            && since + DECAY <= now
        {
            self.level -= 1;
            self.since = Some(since + DECAY);
        }
    }

    fn is_blank(&self) -> bool {
        self.failures.is_empty() && self.level == 0
    }
}

impl OutlierTracker {
    /// Takes note of one failed connection. True when it ejected its endpoint.
    pub fn observe(&mut self, now: Instant, target: Target, failure: ConnectFailure) -> bool {
        // What an ejected endpoint does is left over from before, or a last resort: no news.
        if self.ejected.contains_key(&target) {
            return false;
        }
        if self.records.len() >= MAX_TRACKED && !self.records.contains_key(&target) {
            return false;
        }
        let record = self.records.entry(target).or_default();
        record.forget_old(now);
        record.failures.push_back(now);
        if record.failures.len() < FAILURES {
            return false;
        }
        record.failures.clear();
        let factor = 1u32.checked_shl(record.level).unwrap_or(u32::MAX);
        let length = FIRST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION);
        if length < LONGEST_EJECTION {
            record.level += 1;
        }
        let until = now + length;
        record.since = Some(until);
        let how = if failure == ConnectFailure::Refused { "refused" } else { "not answered" };
        let reason = format!(
            "{FAILURES} connections failed within {} s, the last was {how}; avoided for {} s",
            WINDOW.as_secs(),
            length.as_secs()
        );
        self.ejected.insert(target, Ejection { until, reason: reason.into() });
        true
    }

    /// Forgets an address: whoever comes to have it next begins without a record. True when it was ejected.
    pub fn forget(&mut self, target: &Target) -> bool {
        self.records.remove(target);
        self.ejected.remove(target).is_some()
    }

    /// Ends the ejections whose time is over and forgets what is too old to count. True when an ejection ended.
    pub fn expired(&mut self, now: Instant) -> bool {
        let before = self.ejected.len();
        let over: Vec<Target> =
            self.ejected.iter().filter(|(_, e)| e.until <= now).map(|(target, _)| *target).collect();
        for target in &over {
            self.ejected.remove(target);
        }
        self.records.retain(|_, record| {
            record.forget_old(now);
            !record.is_blank()
        });
        self.ejected.len() != before
    }

    /// When the next ejection ends.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.ejected.values().map(|ejection| ejection.until).min()
    }

    /// Who is ejected now.
    #[must_use]
    pub fn ejected(&self) -> &Ejections {
        &self.ejected
    }
}

#[cfg(test)]
mod tests;
