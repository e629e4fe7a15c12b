//! How many connections to each frontend are open now, as connection tracking knows.
//!
//! Events tell of a connection's begin and of the moment when the kernel forgets it, two minutes after its end; the events
//! in between would cost the kernel a message for each step of every connection on the host. So the kernel is asked, when
//! somebody wants to know, and seldom enough.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::dump::{Which, walk};
use super::{PROTOINFO, SEEN_REPLY, STATUS, attr, read_tcp_state};
use crate::dataplane::netlink::{Message, NfSocket, be32};
use crate::model::{Flow, Frontend, L4, TcpState, VipCidr, VipRanges, error_chain};

/// Open connections to each frontend; UDP: flows that the kernel tracks. Those with none are not there.
pub type OpenConnections = BTreeMap<Frontend, u64>;

/// So many times as long as a look took, the next one waits at least: however many flows there are and however often
/// somebody asks, it costs a twentieth of a core at most.
const REST: u32 = 20;

/// Asks the kernel, in the network namespace of whichever thread wants to know. Cloning shares what it found.
#[derive(Clone, Default)]
pub struct Census {
    ranges: Option<VipRanges>,
    last: Arc<Mutex<Look>>,
}

#[derive(Default)]
struct Look {
    /// When the next one may begin; none before the first.
    rests_until: Option<Instant>,
    found: Arc<OpenConnections>,
    /// Whether the last one failed: trouble that lasts is told once.
    failed: bool,
}

impl Census {
    /// Of connections to VIPs of these ranges.
    #[must_use]
    pub fn new(ranges: VipRanges) -> Self {
        Self { ranges: Some(ranges), last: Arc::default() }
    }

    /// What was found just now, or a moment ago. Blocks: a million flows take a second.
    #[must_use]
    pub fn open(&self) -> Arc<OpenConnections> {
        // Found whole or not at all, so a panic elsewhere while it was held does not spoil it.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let Some(ranges) = self.ranges.filter(|_| last.rests_until.is_none_or(|until| until <= begun)) else {
            return Arc::clone(&last.found);
        };
        match look(ranges) {
            Ok(found) => (last.found, last.failed) = (Arc::new(found), false),
            Err(error) if last.failed => debug!(error = %error_chain(&error), "cannot count open connections"),
            Err(error) => {
                warn!(error = %error_chain(&error), "cannot count open connections; connections_active stays as it was");
                last.failed = true;
            }
        }
        last.rests_until = Some(begun + begun.elapsed().max(Duration::from_millis(1)) * REST);
        Arc::clone(&last.found)
    }
}

/// Looks through all flows that were led elsewhere.
fn look(ranges: VipRanges) -> io::Result<OpenConnections> {
    let mut socket = NfSocket::open()?;
    let mut open = OpenConnections::new();
    for family in ranges.iter().map(VipCidr::family) {
        walk(&mut socket, family, Which::Redirected, |message, flow| {
            if ranges.contains(flow.frontend.vip) && is_open(message, flow) {
                *open.entry(flow.frontend).or_default() += 1;
            }
        })?;
    }
    Ok(open)
}

fn is_open(message: &Message<'_>, flow: &Flow) -> bool {
    match flow.frontend.l4 {
        L4::Udp => true,
        L4::Tcp => {
            let answered = attr(message, STATUS).and_then(be32).is_some_and(|status| status & SEEN_REPLY != 0);
            answered && attr(message, PROTOINFO).and_then(read_tcp_state).is_some_and(TcpState::is_open)
        }
    }
}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Census {
    /// One that has found this, and asks nobody.
    pub(crate) fn of(found: OpenConnections) -> Self {
        let last = Look { found: Arc::new(found), ..Look::default() };
        Self { ranges: None, last: Arc::new(Mutex::new(last)) }
    }
}
