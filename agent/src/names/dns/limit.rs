//! A limit on things under way, with a smaller one for each client, so that no container takes them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts what is under way. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct ClientLimit {
    total: usize,
    each: usize,
    held: Arc<Mutex<InUse>>,
    emptied: Arc<Notify>,
}

#[derive(Debug, Default)]
struct InUse {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

impl ClientLimit {
    /// At most `total` at a time, of which at most `each` for one client.
    pub(super) fn new(total: usize, each: usize) -> Self {
        Self { total, each, held: Arc::default(), emptied: Arc::default() }
    }

    /// Room for one more until the permit is dropped, or `None` when there is none.
    pub(super) fn enter(&self, client: IpAddr) -> Option<Permit> {
        let mut held = self.held();
        let own = held.by.get(&client).copied().unwrap_or(0);
        if held.all >= self.total || own >= self.each {
            return None;
        }
        held.all += 1;
        held.by.insert(client, own + 1);
        Some(Permit { limit: self.clone(), client })
    }

    fn leave(&self, client: IpAddr) {
        let mut held = self.held();
        held.all = held.all.saturating_sub(1);
        match held.by.get_mut(&client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.by.remove(&client)),
        }
        if held.all == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        let mut emptied = pin!(self.emptied.notified());
        loop {
            // From here on no notification is missed.
            emptied.as_mut().enable();
            if self.held().all == 0 {
                return;
            }
            emptied.as_mut().await;
            emptied.set(self.emptied.notified());
        }
    }

    /// The counts are whole between any two statements above, so a poisoned lock is as good as another.
    fn held(&self) -> MutexGuard<'_, InUse> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the things under way.
#[derive(Debug)]
pub(super) struct Permit {
    limit: ClientLimit,
    client: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.leave(self.client);
    }
}

#[cfg(test)]
mod tests;
