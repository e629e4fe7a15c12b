//! The look at Docker's list that is taken now and then, since events get lost: who differs from what is known is inspected,
//! and what no event tells of is drift.
//!
//! A list and events travel by different roads. Whoever an event was about while the list was made is left to the next
//! look, and what differs is drift only once no event about it has come for a while.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Ask, ContainerId, DockerState, Listed};

/// How long after a list an event that explains it may come.
pub(in super::super) const IN_FLIGHT: Duration = Duration::from_secs(2);
/// The most containers that events may be about while a list is made; beyond that it is not compared.
const MAX_TOLD: usize = 65_536;

/// Something that events had not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Drift {
    /// The container.
    pub(in super::super) id: ContainerId,
    /// What had become of it.
    pub(in super::super) kind: DriftKind,
}

/// What nobody had told of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum DriftKind {
    /// It runs.
    New,
    /// It does not.
    Gone,
    /// It is not what it was.
    Changed,
}

impl DriftKind {
    /// For people.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::New => "began",
            Self::Gone => "ended",
            Self::Changed => "changed",
        }
    }
}

/// Looks, and what they found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whom events were about since the list was asked for; `None` while there is none to come.
    told: Option<HashSet<ContainerId>>,
    /// What the last look found and no event has told of, and when it is drift.
    suspects: BTreeMap<ContainerId, DriftKind>,
    judged_at: Option<Instant>,
}

impl Look {
    /// An event was about this container.
    pub(super) fn told(&mut self, id: &ContainerId) {
        self.suspects.remove(id);
        if let Some(told) = &mut self.told
            && told.len() < MAX_TOLD
        {
            told.insert(id.clone());
        }
    }

    /// The connection is another, and what was found before explained by that.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

impl DockerState {
    /// A list has been asked for, to compare with what is known.
    pub(in super::super) fn begin_look(&mut self) {
        self.look.told = Some(HashSet::new());
    }

    /// The list that a look asked for; what to ask because of it.
    pub(in super::super) fn looked(&mut self, list: Vec<Listed>, now: Instant) -> Vec<Ask> {
        let Some(told) = self.look.told.take().filter(|told| told.len() < MAX_TOLD) else { return Vec::new() };
        let ids: HashSet<&ContainerId> = list.iter().map(|listed| &listed.id).collect();
        let missing = self.entries.iter().filter(|(id, entry)| !entry.open && !ids.contains(id) && !told.contains(*id));
        let mut suspects: BTreeMap<ContainerId, DriftKind> =
            missing.map(|(id, _)| (id.clone(), DriftKind::Gone)).collect();
        for listed in list.into_iter().filter(|listed| !told.contains(&listed.id)) {
            let Some(entry) = self.entries.get_mut(&listed.id) else {
                self.entries.entry(listed.id.clone()).or_default().listed = Some(listed.digest);
                suspects.insert(listed.id, DriftKind::New);
                continue;
            };
            // Of one that is being inspected the answer will tell.
            if entry.open {
                continue;
            }
            let same = entry.listed.is_none_or(|before| before == listed.digest) && entry.agrees(&listed);
            entry.listed = Some(listed.digest);
            if !same {
                suspects.insert(listed.id, DriftKind::Changed);
            }
        }
        let asks = suspects.keys().cloned().map(|id| self.ask(id, now)).collect();
        if !suspects.is_empty() {
            self.look.judged_at = Some(now + IN_FLIGHT);
        }
        self.look.suspects = suspects;
        asks
    }

    /// What of the last look's findings no event has told of by now, once there was time for that.
    pub(in super::super) fn drifted(&mut self, now: Instant) -> Vec<Drift> {
        if self.look.judged_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.look.judged_at = None;
        let suspects = std::mem::take(&mut self.look.suspects);
        suspects.into_iter().map(|(id, kind)| Drift { id, kind }).collect()
    }

    /// When [`Self::drifted`] has something to say next.
    pub(super) fn judged_at(&self) -> Option<Instant> {
        self.look.judged_at
    }
}

#[cfg(test)]
mod tests;
