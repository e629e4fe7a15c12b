//! The lock's value: who holds one of the group's slots. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::untrusted::excerpt;

/// How many holders a sentence names.
const NAMED: usize = 5;

/// Who holds a slot. How many there are is each node's own setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slots {
    /// Each holder, and since when.
    holders: BTreeMap<Arc<str>, Timestamp>,
}

/// What asking for a slot comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// The node holds one.
    Already,
    /// It gets one, by this value.
    Taken(Slots),
    /// There is none left; who holds them, for people.
    Full(String),
}

impl Slots {
    pub(super) fn acquire(mut self, node: &str, max: NonZeroU32, now: Timestamp) -> Acquired {
        if self.holders.contains_key(node) {
            return Acquired::Already;
        }
        if self.holders.len() >= usize::try_from(max.get()).unwrap_or(usize::MAX) {
            return Acquired::Full(self.named());
        }
        self.holders.insert(node.into(), now);
        Acquired::Taken(self)
    }

    /// `None`: the node holds no slot.
    pub(super) fn release(mut self, node: &str) -> Option<Self> {
        self.holders.remove(node).map(|_| self)
    }

    /// The longest holders first: whoever holds for days is the one to look at.
    fn named(&self) -> String {
        let mut holders: Vec<_> = self.holders.iter().collect();
        holders.sort_by_key(|(_, since)| **since);
        let mut names: Vec<String> =
            holders.iter().take(NAMED).map(|(node, since)| format!("{} since {since:.0}", excerpt(node))).collect();
        if holders.len() > NAMED {
            names.push(format!("{} more", holders.len() - NAMED));
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
