//! Each client's share of what may be under way. Whoever has too much loses the oldest of it; the others lose nothing.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asker::Client;

/// How many may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// Of everybody together.
    pub(super) total: usize,
    /// Of one known client.
    pub(super) each: usize,
    /// Of unknown ones, all together.
    pub(super) unknown: usize,
}

/// Counts what is under way. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct ClientLimit {
    shares: Shares,
    held: Arc<Mutex<InUse>>,
    emptied: Arc<Notify>,
}

#[derive(Debug, Default)]
struct InUse {
    all: usize,
    next: u64,
    /// Of each client the oldest first. Never empty.
    by: HashMap<Client, VecDeque<(u64, CancellationToken)>>,
}

impl ClientLimit {
    pub(super) fn new(shares: Shares) -> Self {
        Self { shares, held: Arc::default(), emptied: Arc::default() }
    }

    /// Room for one more until the permit is dropped, at the cost of the oldest of whoever has most where all is taken;
    /// `None` where nobody has more than this client. Unknown ones never cost others anything.
    pub(super) fn enter(&self, client: Client) -> Option<Permit> {
        let mut held = self.held();
        let own = held.of(client);
        match client {
            Client::Unknown if own >= self.shares.unknown || held.all >= self.shares.total => return None,
            _ if own >= self.shares.each => held.evict(client),
            _ if held.all >= self.shares.total => {
                let greediest = held.by.iter().max_by_key(|(_, all)| all.len()).map(|(who, all)| (*who, all.len()))?;
                match greediest {
                    (who, most) if most > own => held.evict(who),
                    _ if own > 0 => held.evict(client),
                    _ => return None,
                }
            }
            _ => {}
        }
        let (id, evicted) = (held.next, CancellationToken::new());
        held.next += 1;
        held.all += 1;
        held.by.entry(client).or_default().push_back((id, evicted.clone()));
        drop(held);
        Some(Permit { limit: self.clone(), client, id, evicted })
    }

    fn leave(&self, client: Client, id: u64) {
        let mut held = self.held();
        if let Some(place) = held.by.get(&client).and_then(|own| own.iter().position(|(of, _)| *of == id)) {
            held.remove(client, place);
        }
        if held.all == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// How many are under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.held().all
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

impl InUse {
    fn of(&self, client: Client) -> usize {
        self.by.get(&client).map_or(0, VecDeque::len)
    }

    /// Ends the oldest of a client's.
    fn evict(&mut self, client: Client) {
        if let Some(evicted) = self.remove(client, 0) {
            evicted.cancel();
        }
    }

    fn remove(&mut self, client: Client, place: usize) -> Option<CancellationToken> {
        let own = self.by.get_mut(&client)?;
        let (_, removed) = own.remove(place)?;
        if own.is_empty() {
            self.by.remove(&client);
        }
        self.all = self.all.saturating_sub(1);
        Some(removed)
    }
}

/// One of the things under way.
#[derive(Debug)]
pub(super) struct Permit {
    limit: ClientLimit,
    client: Client,
    id: u64,
    evicted: CancellationToken,
}

impl Permit {
    /// Waits until it has to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.leave(self.client, self.id);
    }
}

/// How many datagrams of unknown senders are read. A container is one until Docker has told of it, and asks much in its
/// first moments; but an answer to an address that nobody has lies in the kernel for three seconds, at the cost of the
/// socket that all answers go out by.
#[derive(Debug)]
pub(super) struct Trickle(Mutex<(f64, Option<Instant>)>);

impl Trickle {
    /// At a time: several containers' first moments. The send buffer holds a multiple of so many answers.
    const MOST: f64 = 256.0;
    /// A second.
    const RATE: f64 = 64.0;

    /// Full.
    pub(super) fn new() -> Self {
        Self(Mutex::new((Self::MOST, None)))
    }

    /// Whether one more is read now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = &mut *state;
        let since = last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        *left = (*left + Self::RATE * since.as_secs_f64()).min(Self::MOST);
        let admits = *left >= 1.0;
        if admits {
            *left -= 1.0;
        }
        admits
    }
}

#[cfg(test)]
mod tests;
