//! What became of containers that ended here, for whoever asks why one is not there. Pure.
//!
//! Bounded: an hour, and so many containers. Of too many, those go first that never ended or offered nothing.

use std::sync::Arc;

use imbl::OrdMap;

use super::events::Death;
use crate::model::{ContainerId, End, Past};

/// The most containers that are remembered.
pub(super) const MAX_PASTS: usize = 256;
/// How long they are.
const KEPT_MS: u64 = 3_600_000;
/// The most beginnings of one container that are remembered.
const MAX_STARTS: usize = 16;

/// The recent past of containers.
#[derive(Debug, Default)]
pub(super) struct History {
    pasts: OrdMap<ContainerId, Arc<Past>>,
    /// Containers that ran out of memory and have not ended yet.
    starved: Vec<ContainerId>,
}

impl History {
    /// All of it.
    pub(super) fn pasts(&self) -> &OrdMap<ContainerId, Arc<Past>> {
        &self.pasts
    }

    /// A container began.
    pub(super) fn started(&mut self, id: &ContainerId, now_ms: u64) {
        self.starved.retain(|starved| starved != id);
        self.change(id, now_ms, |past| {
            if past.starts_ms.len() == MAX_STARTS {
                past.starts_ms.remove(0);
            }
            past.starts_ms.push(now_ms);
        });
    }

    /// The kernel ran out of memory for a container, which may outlive it.
    pub(super) fn starved(&mut self, id: &ContainerId) {
        if self.starved.len() == MAX_PASTS {
            self.starved.remove(0);
        }
        self.starved.push(id.clone());
    }

    /// A container ended; `stopped`: it had been told to.
    pub(super) fn died(&mut self, id: &ContainerId, death: &Death, stopped: bool, now_ms: u64) {
        let before = self.starved.len();
        self.starved.retain(|starved| starved != id);
        let out_of_memory = self.starved.len() < before;
        let end = End { at_ms: now_ms, exit_code: death.exit_code, out_of_memory, stopped, removed: false };
        self.change(id, now_ms, |past| {
            past.end = Some(end);
            past.name = death.name.clone();
            past.services = death.services.clone();
        });
    }

    /// A container had ended before anybody looked.
    pub(super) fn found(&mut self, id: &ContainerId, death: &Death, at_ms: u64, now_ms: u64) {
        let is_of_last_life = |end: End, past: &Past| past.starts_ms.last().is_none_or(|began| *began <= end.at_ms);
        let told_of = self.pasts.get(id).is_some_and(|past| past.end.is_some_and(|end| is_of_last_life(end, past)));
        if !told_of && at_ms.saturating_add(KEPT_MS) >= now_ms {
            self.died(id, death, false, at_ms);
        }
    }

    /// Docker has removed a container.
    pub(super) fn removed(&mut self, id: &ContainerId) {
        let Some(past) = self.pasts.get_mut(id) else { return };
        if let Some(end) = &mut Arc::make_mut(past).end {
            end.removed = true;
        }
    }

    /// Forgets what is too old.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        let is_old = |past: &Past| last(past).saturating_add(KEPT_MS) < now_ms;
        let old: Vec<ContainerId> =
            self.pasts.iter().filter(|(_, past)| is_old(past)).map(|(id, _)| id.clone()).collect();
        for id in &old {
            self.pasts.remove(id);
        }
    }

    fn change(&mut self, id: &ContainerId, now_ms: u64, change: impl FnOnce(&mut Past)) {
        self.forget_old(now_ms);
        if self.pasts.len() >= MAX_PASTS && !self.pasts.contains_key(id) {
            let worth = |past: &Past| (past.end.is_some(), !past.services.is_empty(), last(past));
            let least = self.pasts.iter().min_by_key(|(_, past)| worth(past)).map(|(id, _)| id.clone());
            if let Some(least) = least {
                self.pasts.remove(&least);
            }
        }
        let mut past = self.pasts.get(id).map(|past| Past::clone(past)).unwrap_or_default();
        change(&mut past);
        self.pasts.insert(id.clone(), Arc::new(past));
    }
}

/// When something was last heard of a container.
fn last(past: &Past) -> u64 {
    let ended = past.end.map_or(0, |end| end.at_ms);
    past.starts_ms.last().map_or(ended, |started| ended.max(*started))
}

#[cfg(test)]
mod tests;
