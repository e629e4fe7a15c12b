//! The node's budget for what labels ask for, in the snapshot.

use std::sync::Arc;

use super::{ContainerId, DockerState};

impl DockerState {
    /// Containers whose labels ask for more than the node's budget has room for, each told once: how many services it
    /// does without.
    pub(in super::super) fn refused(&mut self) -> Vec<(ContainerId, usize)> {
        std::mem::take(&mut self.refused)
    }

    /// Gives out what is free of the budget.
    pub(super) fn settle_budget(&mut self) {
        let changed = self.budget.settle();
        if changed.is_empty() && self.snapshot.budget == self.budget.in_use() {
            return;
        }
        self.snapshot.budget = self.budget.in_use();
        for (id, refused) in changed {
            let Some(container) = self.snapshot.running.get_mut(&id) else { continue };
            let admitted = self.budget.admitted(&id);
            if container.admitted != admitted {
                Arc::make_mut(container).admitted = admitted;
                self.changed = true;
            }
            if refused > 0 {
                self.refused.push((id, refused));
            }
        }
    }
}
