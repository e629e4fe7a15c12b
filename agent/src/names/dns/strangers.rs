//! Datagrams of senders that nobody knows yet, kept while there is no room to take them on trust. A container asks in its
//! first moments, before Docker has told of it; a forged sender is never told of. Pure.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

/// How many are kept: what a flood of 4,000 a second sends in two seconds, longer than Docker needs on a busy node.
const MOST: usize = 8192;
/// Of how many bytes together.
const MOST_BYTES: usize = 1 << 19;
/// Longest that is kept, in bytes: far longer than what a resolver asks first.
const LONGEST: usize = 512;
/// How long one is kept. The client asks again after that.
const KEPT: Duration = Duration::from_secs(2);

/// A datagram and who sent it.
pub(super) type Datagram = (SocketAddr, Box<[u8]>);

/// What is kept, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    kept: VecDeque<Stranger>,
    bytes: usize,
}

#[derive(Debug)]
struct Stranger {
    address: SocketAddr,
    query: Box<[u8]>,
    until: Instant,
}

impl Strangers {
    /// Keeps one; how many are given up for it, or because their time is over.
    pub(super) fn keep(&mut self, address: SocketAddr, query: &[u8], now: Instant) -> usize {
        let mut given_up = self.expire(now);
        if query.len() > LONGEST {
            return given_up + 1;
        }
        while self.kept.len() >= MOST || self.bytes + query.len() > MOST_BYTES {
            self.give_up_oldest();
            given_up += 1;
        }
        self.bytes += query.len();
        self.kept.push_back(Stranger { address, query: query.into(), until: now + KEPT });
        given_up
    }

    /// Takes out those whose senders are known now; how many were given up, because their time is over.
    pub(super) fn told_of(&mut self, known: impl Fn(IpAddr) -> bool, now: Instant) -> (Vec<Datagram>, usize) {
        let given_up = self.expire(now);
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (told, rest) = kept.partition::<Vec<_>, _>(|it| known(it.address.ip()));
        self.bytes = rest.iter().map(|it| it.query.len()).sum();
        self.kept = rest.into();
        (told.into_iter().map(|it| (it.address, it.query)).collect(), given_up)
    }

    fn expire(&mut self, now: Instant) -> usize {
        let over = self.kept.iter().take_while(|it| it.until <= now).count();
        (0..over).for_each(|_| self.give_up_oldest());
        over
    }

    fn give_up_oldest(&mut self) {
        let oldest = self.kept.pop_front();
        self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |it| it.query.len()));
    }
}

#[cfg(test)]
mod tests;
