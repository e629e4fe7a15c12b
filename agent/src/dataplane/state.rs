//! What the data plane says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::netns::NetnsId;
use crate::model::{Ruleset, View};

/// The state of every network namespace that is programmed.
#[derive(Debug, Clone, Default)]
pub struct DataplaneState {
    /// By namespace; each owner writes its own.
    pub namespaces: BTreeMap<NetnsId, NamespaceState>,
}

/// The state of one network namespace.
#[derive(Debug, Clone)]
pub struct NamespaceState {
    /// Whose clients live there.
    pub view: View,
    /// What programs it.
    pub backend: &'static str,
    /// Whether the kernel holds the latest ruleset.
    pub in_sync: bool,
    /// The ruleset that the kernel is known to hold.
    pub applied: Option<Arc<Ruleset>>,
    /// How long the latest successful write took.
    pub last_apply: Option<Duration>,
    /// Successful writes.
    pub applies: u64,
    /// How often others' changes were undone.
    pub repairs: u64,
    /// Transactions that failed.
    pub failures: u64,
}

impl DataplaneState {
    /// What programs the kernel.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.namespaces.values().next().map_or("nftables", |state| state.backend)
    }

    /// Whether the kernel holds the latest rulesets in every namespace.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        !self.namespaces.is_empty() && self.namespaces.values().all(|state| state.in_sync)
    }

    /// The ruleset that the kernel is known to hold for all clients of a view; `None` where one of its namespaces holds
    /// none or another.
    #[must_use]
    pub fn applied(&self, view: View) -> Option<&Arc<Ruleset>> {
        let mut applied =
            self.namespaces.values().filter(|state| state.view == view).map(|state| state.applied.as_ref());
        let first = applied.next()??;
        applied.all(|other| other.is_some_and(|other| Arc::ptr_eq(first, other))).then_some(first)
    }

    /// How long the latest successful write took where it took longest.
    #[must_use]
    pub fn last_apply(&self) -> Option<Duration> {
        self.namespaces.values().filter_map(|state| state.last_apply).max()
    }

    /// How often others' changes were undone.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.namespaces.values().map(|state| state.repairs).sum()
    }

    /// Transactions that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.namespaces.values().map(|state| state.failures).sum()
    }

    /// A namespace's part, made if it is new.
    pub(super) fn of(&mut self, id: NetnsId, view: View, backend: &'static str) -> &mut NamespaceState {
        self.namespaces.entry(id).or_insert(NamespaceState {
            view,
            backend,
            in_sync: false,
            applied: None,
            last_apply: None,
            applies: 0,
            repairs: 0,
            failures: 0,
        })
    }
}

#[cfg(test)]
impl DataplaneState {
    /// The state of a node with one namespace.
    pub(crate) fn of_one(change: impl FnOnce(&mut NamespaceState)) -> Self {
        let mut state = Self::default();
        state.change(change);
        state
    }

    /// Changes that one namespace.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut NamespaceState)) {
        change(self.of(NetnsId::of_test(), View::Node, "nftables"));
    }
}
