//! Passive outlier detection: reads what the kernel tells of connections to VIPs and says which endpoints to avoid.
//!
//! Owns the event socket and the [`Tracker`]. Receives the catalog, to forget endpoints that are gone; emits
//! [`Ejections`]; shows every event to one observer, for counting. Sees a connection's begin and end, never its
//! packets.

use std::time::Duration;

use imbl::ordmap::DiffItem;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::outlier::{Failure, Tracker};
use crate::dataplane::conntrack::FlowEvents;
use crate::model::{Ejections, Endpoints, Flow, FlowKind, L4, Target, TcpState, VipCidr};

/// How long to wait before the kernel is asked for events again.
const REOPEN: Duration = Duration::from_secs(5);
/// How often failures that are too old to count are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What an observer is shown.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// A flow began or ended.
    Flow(&'a FlowKind, &'a Flow),
    /// The endpoint of this flow is avoided from now on, because of it.
    Ejected(&'a Flow),
}

/// The failure in what happened to a flow, if it is one. UDP has none: nobody need answer a datagram.
fn failure(kind: &FlowKind, flow: &Flow) -> Option<Failure> {
    match *kind {
        FlowKind::Destroyed { replied: false, tcp, .. } if flow.frontend.l4 == L4::Tcp => {
            Some(if tcp == Some(TcpState::CLOSE) { Failure::Refused } else { Failure::Unanswered })
        }
        FlowKind::New | FlowKind::Destroyed { .. } => None,
    }
}

/// The addresses whose endpoints are there no more, or are another container's.
fn gone<'a>(before: &'a Endpoints, now: &'a Endpoints) -> impl Iterator<Item = Target> + 'a {
    before.diff(now).filter_map(|change| match change {
        DiffItem::Remove(_, old) => Some((old.protocol.l4(), old.address)),
        DiffItem::Update { old: (_, old), new: (_, new) } if old.started_ms != new.started_ms => {
            Some((old.protocol.l4(), old.address))
        }
        DiffItem::Add(..) | DiffItem::Update { .. } => None,
    })
}

/// Runs until dropped. Without events nobody is ejected, and nothing else is lost.
pub async fn run(
    range: VipCidr,
    mut catalog: watch::Receiver<Option<Endpoints>>,
    ejections: watch::Sender<Ejections>,
    mut observe: impl FnMut(Seen<'_>),
) {
    let mut tracker = Tracker::default();
    let mut known = Endpoints::new();
    loop {
        match FlowEvents::open(range) {
            Ok(mut events) => {
                let error = follow(&mut events, &mut catalog, &mut known, &mut tracker, &ejections, &mut observe).await;
                warn!(%error, "conntrack events broke off; asking again");
            }
            Err(error) => {
                warn!(%error, "no conntrack events: endpoints are not ejected; allow the module nf_conntrack_netlink");
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
}

async fn follow(
    events: &mut FlowEvents,
    catalog: &mut watch::Receiver<Option<Endpoints>>,
    known: &mut Endpoints,
    tracker: &mut Tracker,
    ejections: &watch::Sender<Ejections>,
    observe: &mut impl FnMut(Seen<'_>),
) -> std::io::Error {
    let mut sweep = Instant::now() + SWEEP;
    loop {
        let due = tracker.due().map_or(sweep, |due| due.min(sweep));
        let changed = tokio::select! {
            event = events.next() => match event {
                Ok((kind, flow)) => {
                    observe(Seen::Flow(&kind, &flow));
                    let target = (flow.frontend.l4, flow.endpoint);
                    let failed = failure(&kind, &flow);
                    let ejected = failed.is_some_and(|failure| tracker.observe(Instant::now(), target, failure));
                    if ejected && let Some(ejection) = tracker.ejected().get(&target) {
                        info!(endpoint = %flow.endpoint, reason = %ejection.reason, "ejected");
                        observe(Seen::Ejected(&flow));
                    }
                    ejected
                }
                Err(error) => return error,
            },
            Ok(()) = catalog.changed() => {
                let now = catalog.borrow_and_update().clone().unwrap_or_default();
                let ended = gone(known, &now).filter(|target| tracker.forget(target)).count();
                *known = now;
                ended > 0
            }
            () = sleep_until(due) => {
                let now = Instant::now();
                if sweep <= now {
                    sweep = now + SWEEP;
                }
                tracker.expired(now)
            }
        };
        if changed {
            ejections.send_replace(tracker.ejected().clone());
        }
    }
}

#[cfg(test)]
mod tests;
