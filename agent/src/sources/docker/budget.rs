//! How much of the mesh the labels of one node's containers may ask for, all together. Pure.
//!
//! Each service costs as many names as it asks for. Who was there first keeps what he has: an excess is refused, and never
//! taken out of what another was given. Of those that wait for room, who started first comes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{BudgetUse, ContainerId};

/// The most names that the labels of all containers of a node may ask for.
pub(super) const MAX_NAMES: usize = 8192;

/// What each container asks for and has.
#[derive(Debug, Default)]
pub(super) struct Budget {
    wants: HashMap<ContainerId, Want>,
    /// Those that have less than they ask for.
    waiting: BTreeSet<(u64, ContainerId)>,
    used: usize,
    /// Whether something may have become free, or somebody has come.
    unsettled: bool,
}

#[derive(Debug)]
struct Want {
    started_ms: u64,
    /// What each of its services costs, in the order in which they are admitted.
    costs: Arc<[usize]>,
    admitted: usize,
    /// Whether what it got has been told.
    told: bool,
}

impl Want {
    fn spent(&self) -> usize {
        self.costs.iter().take(self.admitted).sum()
    }

    fn refused(&self) -> usize {
        self.costs.len() - self.admitted
    }
}

impl Budget {
    /// A container asks for services of these costs.
    pub(super) fn want(&mut self, id: &ContainerId, started_ms: u64, costs: Arc<[usize]>) {
        if self.wants.get(id).is_some_and(|want| want.costs == costs) {
            return;
        }
        self.release(id);
        if !costs.is_empty() {
            self.waiting.insert((started_ms, id.clone()));
            self.wants.insert(id.clone(), Want { started_ms, costs, admitted: 0, told: false });
            self.unsettled = true;
        }
    }

    /// A container is gone, and asks for nothing.
    pub(super) fn release(&mut self, id: &ContainerId) {
        if let Some(want) = self.wants.remove(id) {
            self.used -= want.spent();
            self.waiting.remove(&(want.started_ms, id.clone()));
            self.unsettled = true;
        }
    }

    /// Gives out what is free. Who has more since, each with how many of his services are still refused.
    pub(super) fn settle(&mut self) -> Vec<(ContainerId, usize)> {
        let mut changed = Vec::new();
        if !std::mem::take(&mut self.unsettled) {
            return changed;
        }
        let (used, wants) = (&mut self.used, &mut self.wants);
        self.waiting.retain(|(_, id)| {
            let Some(want) = wants.get_mut(id) else { return false };
            let before = want.admitted;
            while let Some(cost) = want.costs.get(want.admitted).filter(|cost| *used + **cost <= MAX_NAMES) {
                *used += cost;
                want.admitted += 1;
            }
            if want.admitted > before || !std::mem::replace(&mut want.told, true) {
                changed.push((id.clone(), want.refused()));
            }
            want.refused() > 0
        });
        changed
    }

    /// How many of a container's services are admitted.
    pub(super) fn admitted(&self, id: &ContainerId) -> usize {
        self.wants.get(id).map_or(0, |want| want.admitted)
    }

    /// How it stands.
    pub(super) fn in_use(&self) -> BudgetUse {
        let refused = self.waiting.iter().filter_map(|(_, id)| self.wants.get(id)).map(Want::refused).sum();
        BudgetUse { names: self.used, limit: MAX_NAMES, refused }
    }
}

#[cfg(test)]
mod tests;
