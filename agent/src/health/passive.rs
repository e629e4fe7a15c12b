//! Passive outlier detection: reads what the kernel tells of connections to VIPs and says which endpoints to avoid.
//!
//! Owns the [`OutlierTracker`]. Receives flow events, and the catalog, to forget endpoints that are gone; emits
//! [`Ejections`]; shows every event to one observer, for counting. Sees a connection's begin and end, never its packets.

use std::time::Duration;

use imbl::ordmap::DiffItem;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::outlier::{ConnectFailure, OutlierTracker};
use crate::model::{Ejections, Endpoints, Flow, FlowEvent, FlowKind, L4, Target, TcpState};

/// How often failures that are too old to count are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// What an observer is shown.
#[derive(Debug, Clone, Copy)]
pub enum Observation<'a> {
    /// A flow began or ended.
    Flow(&'a FlowEvent),
    /// The endpoint of this flow is avoided from now on, because of it.
    Ejection(&'a Flow),
}

/// The failure in what happened to a flow, if it is one. UDP has none: nobody need answer a datagram.
fn failure(FlowEvent { kind, flow }: &FlowEvent) -> Option<ConnectFailure> {
    match *kind {
        FlowKind::Destroyed { replied: false, tcp, .. } if flow.frontend.l4 == L4::Tcp => {
            Some(if tcp == Some(TcpState::CLOSE) { ConnectFailure::Refused } else { ConnectFailure::Unanswered })
        }
        FlowKind::New | FlowKind::Destroyed { .. } => None,
    }
}

/// The addresses whose endpoints are there no more, or are another container's.
fn gone<'a>(before: &'a Endpoints, now: &'a Endpoints) -> impl Iterator<Item = Target> + 'a {
    let ended = before.diff(now).filter_map(|change| match change {
        DiffItem::Remove(_, old) => Some(old),
        DiffItem::Update { old: (_, old), new: (_, new) } if old.started_ms != new.started_ms => Some(old),
        DiffItem::Add(..) | DiffItem::Update { .. } => None,
    });
    ended.flat_map(|endpoint| endpoint.targets())
}

/// Runs until nobody tells of flows any more.
pub async fn run(
    mut flows: mpsc::Receiver<FlowEvent>,
    mut catalog: watch::Receiver<Option<Endpoints>>,
    ejections: watch::Sender<Ejections>,
    mut observe: impl FnMut(Observation<'_>),
) {
    let mut tracker = OutlierTracker::default();
    let mut known = Endpoints::new();
    let mut sweep = Instant::now() + SWEEP;
    loop {
        let due = tracker.due().map_or(sweep, |due| due.min(sweep));
        let changed = tokio::select! {
            event = flows.recv() => match event {
                Some(event) => take(&mut tracker, &event, &mut observe),
                None => return,
            },
            Ok(()) = catalog.changed() => {
                let now = catalog.borrow_and_update().clone().unwrap_or_default();
                let ended = gone(&known, &now).filter(|target| tracker.forget(target)).count();
                known = now;
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

/// Takes note of an event; true when it ejected an endpoint.
fn take(tracker: &mut OutlierTracker, event: &FlowEvent, observe: &mut impl FnMut(Observation<'_>)) -> bool {
    observe(Observation::Flow(event));
    let flow = &event.flow;
    let target = Target::new(flow.frontend.l4, flow.endpoint);
    let ejected = failure(event).is_some_and(|failure| tracker.observe(Instant::now(), target, failure));
    if ejected && let Some(ejection) = tracker.ejected().get(&target) {
        info!(endpoint = %flow.endpoint, reason = %ejection.reason,
            "endpoint ejected; it takes no new connection for a while");
        observe(Observation::Ejection(flow));
    }
    ejected
}

#[cfg(test)]
mod tests;
