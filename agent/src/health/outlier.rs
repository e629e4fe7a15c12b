//! Passive outlier detection: which endpoints real connections fail to reach. Pure; time is given.
//!
//! The figures are ECS Service Connect's: five failed connections within 30 s avoid an endpoint for 30 s, doubling up
//! to 300 s. They have to be of two clients at least that are known to be there: anybody can make connections that fail.
//! Proof, a connect of the agent's own that failed too, avoids at once. How many endpoints of a service may be avoided at
//! once is decided elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
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
pub(super) const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// How long one by proof holds at least after it was proven again.
pub(super) const RENEWED: Duration = Duration::from_secs(15);
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

impl ConnectFailure {
    fn how(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unanswered => "not answered",
        }
    }
}

/// Counts failures and decides who is ejected.
#[derive(Debug, Default)]
pub struct OutlierTracker {
    records: BTreeMap<Target, FailureRecord>,
    ejected: Ejections,
}

#[derive(Debug, Default)]
struct FailureRecord {
    /// Recent failures, oldest first; fewer than [`FAILURES`]. One client has fewer than that, so that all of them
    /// together are of two at least.
    failures: VecDeque<(Instant, IpAddr)>,
    /// How many ejections followed one another, decay already taken off at `since`.
    level: u32,
    /// When the last ejection ended, or the level was last taken down.
    since: Option<Instant>,
}

impl FailureRecord {
    fn forget_old(&mut self, now: Instant) {
        while self.failures.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
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
    /// Takes note of a connection to an endpoint that failed for a client that is known to be there. True when it ejected
    /// the endpoint.
    pub fn observe(&mut self, now: Instant, target: Target, failure: ConnectFailure, client: IpAddr) -> bool {
        // What an ejected endpoint does is left over from before, or a last resort: no news.
        if self.ejected.contains_key(&target) {
            return false;
        }
        let Some(record) = self.record(now, target) else { return false };
        let of_client = record.failures.iter().filter(|(_, of)| *of == client).count();
        if of_client + 1 == FAILURES
            && let Some(oldest) = record.failures.iter().position(|(_, of)| *of == client)
        {
            record.failures.remove(oldest);
        }
        record.failures.push_back((now, client));
        if record.failures.len() < FAILURES {
            return false;
        }
        let within = WINDOW.as_secs();
        let why = format!("{FAILURES} connections failed within {within} s, the last was {}", failure.how());
        self.eject(now, target, &why, false)
    }

    /// Takes note of connects of the agent's own that failed. True when that ejected the endpoint; one that was suspected
    /// is avoided without a limit from now on, and one that was proven to fail goes on being avoided.
    pub fn prove(&mut self, now: Instant, target: Target, failure: ConnectFailure) -> bool {
        if let Some(ejection) = self.ejected.get_mut(&target).filter(|ejection| ejection.proven) {
            ejection.until = ejection.until.max(now + RENEWED);
            self.records.entry(target).or_default().since = Some(ejection.until);
            return false;
        }
        let why = match failure {
            ConnectFailure::Refused => {
                format!("nothing listens at {}: a client was refused, and so was the agent", target.address())
            }
            ConnectFailure::Unanswered => {
                format!("{} does not answer: a client's connection failed, and so did the agent's", target.address())
            }
        };
        self.record(now, target).is_some() && self.eject(now, target, &why, true)
    }

    /// Takes note of a connect of the agent's own that succeeded: what was proven is so no more. True when that ended an
    /// ejection.
    pub fn acquit(&mut self, now: Instant, target: &Target) -> bool {
        let is_proven = self.ejected.get(target).is_some_and(|ejection| ejection.proven);
        if is_proven {
            self.ejected.remove(target);
            self.records.entry(*target).or_default().since = Some(now);
        }
        is_proven
    }

    /// The endpoint's record, without what is too old to count; `None` where there are too many.
    fn record(&mut self, now: Instant, target: Target) -> Option<&mut FailureRecord> {
        if self.records.len() >= MAX_TRACKED && !self.records.contains_key(&target) {
            return None;
        }
        let record = self.records.entry(target).or_default();
        record.forget_old(now);
        Some(record)
    }

    fn eject(&mut self, now: Instant, target: Target, why: &str, proven: bool) -> bool {
        let record = self.records.entry(target).or_default();
        record.failures.clear();
        let factor = 1u32.checked_shl(record.level).unwrap_or(u32::MAX);
        let length = FIRST_EJECTION.saturating_mul(factor).min(LONGEST_EJECTION);
        if length < LONGEST_EJECTION {
            record.level += 1;
        }
        let until = now + length;
        record.since = Some(until);
        let reason = format!("{why}; avoided for {} s", length.as_secs());
        self.ejected.insert(target, Ejection { until, reason: reason.into(), proven });
        true
    }

    /// Goes by an ejection that stood when the agent last ran.
    pub(super) fn recall(&mut self, target: Target, ejection: Ejection, level: u32) {
        let since = Some(ejection.until);
        self.records.insert(target, FailureRecord { level, since, ..FailureRecord::default() });
        self.ejected.insert(target, ejection);
    }

    /// How many ejections of an endpoint have followed one another.
    pub(super) fn level(&self, target: &Target) -> u32 {
        self.records.get(target).map_or(0, |record| record.level)
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

    /// Who is avoided by proof.
    pub fn proven(&self) -> impl Iterator<Item = Target> {
        self.ejected.iter().filter(|(_, ejection)| ejection.proven).map(|(target, _)| *target)
    }

    /// Who is ejected now.
    #[must_use]
    pub fn ejected(&self) -> &Ejections {
        &self.ejected
    }
}

#[cfg(test)]
mod tests;
