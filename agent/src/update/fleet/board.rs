//! What the fleet says, and when that is bad enough for a node to wait. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use semver::Version;

use super::ruling::{Outcome, Ruling};

/// How long an outcome counts for the circuit.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// One bad node is a bad node; two may be a bad version.
const LEAST_BAD: usize = 2;
/// How many of the bad ones a sentence names.
const NAMED: usize = 3;

/// What the fleet says, as far as it can: only etcd carries it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// The word about each version that there is one about.
    pub rulings: BTreeMap<Version, Ruling>,
    /// The last outcome on each node of the group.
    pub outcomes: BTreeMap<Arc<str>, Outcome>,
    /// When a person last said resume: older outcomes do not count for the circuit.
    pub since: Option<Timestamp>,
}

impl Board {
    /// Why no node of the group should begin an update, if the circuit is open: of the outcomes of the last 24 hours
    /// two or more are bad, and they are more than this share (0 to 1) of all. A share of 1 never opens it.
    #[must_use]
    pub fn breaker(&self, now: Timestamp, share: f64) -> Option<String> {
        let counts = |outcome: &Outcome| {
            now.duration_since(outcome.at) < WINDOW && self.since.is_none_or(|since| outcome.at >= since)
        };
        let counted: Vec<_> = self.outcomes.iter().filter(|(_, outcome)| counts(outcome)).collect();
        let mut bad: Vec<_> = counted.iter().filter(|(_, outcome)| !outcome.good).collect();
        let open = bad.len() >= LEAST_BAD && share_of(bad.len(), counted.len()) > share;
        open.then(|| {
            bad.sort_by_key(|(_, outcome)| std::cmp::Reverse(outcome.at));
            let mut names: Vec<String> =
                bad.iter().take(NAMED).map(|(node, outcome)| format!("{node} with {}", outcome.version)).collect();
            if bad.len() > NAMED {
                names.push("…".to_owned());
            }
            format!(
                "{} of {} updates in the last 24 h were taken back ({}), more than the allowed share of {share}; \
                 find out why, then run `meshdog update resume`",
                bad.len(),
                counted.len(),
                names.join(", "),
            )
        })
    }
}

fn share_of(part: usize, all: usize) -> f64 {
    part as f64 / all as f64
}

#[cfg(test)]
mod tests;
