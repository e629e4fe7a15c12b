//! Counts connections from the kernel's flow events into the service's [`ServiceCounters`](super::counters::ServiceCounters).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::counters::{ServiceCounters, TrafficCounters};
use crate::health::passive::Observation;
use crate::model::{Desired, Flow, FlowEvent, FlowKind, Frontend};

/// The most connections that are known as open; further ones are counted as begun, not as open.
const MAX_OPEN: usize = 65_536;

/// Counts what happens to flows.
#[derive(Debug)]
pub struct Traffic {
    desired: watch::Receiver<Option<Arc<Desired>>>,
    counters: TrafficCounters,
    open: HashMap<(SocketAddr, Frontend), Arc<ServiceCounters>>,
}

impl Traffic {
    /// A counter into `counters`; `desired` says which service stands behind a frontend.
    #[must_use]
    pub fn new(desired: watch::Receiver<Option<Arc<Desired>>>, counters: TrafficCounters) -> Self {
        Self { desired, counters, open: HashMap::new() }
    }

    /// Takes note of what was seen.
    pub fn observe(&mut self, observation: Observation<'_>) {
        match observation {
            Observation::Flow(FlowEvent { kind, flow }) => self.count(kind, flow),
            Observation::Ejection(flow) => {
                if let Some(counts) = self.counts(flow) {
                    counts.ejections.inc();
                }
            }
        }
    }

    fn count(&mut self, kind: &FlowKind, flow: &Flow) {
        let key = (flow.client, flow.frontend);
        match kind {
            FlowKind::New => {
                let Some(counts) = self.counts(flow) else { return };
                counts.connections.inc();
                if self.open.len() < MAX_OPEN && self.open.insert(key, Arc::clone(&counts)).is_none() {
                    counts.active.inc();
                }
            }
            FlowKind::Destroyed { replied, sent, received, .. } => {
                let open = self.open.remove(&key);
                if let Some(counts) = &open {
                    counts.active.dec();
                }
                let Some(counts) = open.or_else(|| self.counts(flow)) else { return };
                if !replied && flow.frontend.l4 == crate::model::L4::Tcp {
                    counts.connect_failures.inc();
                }
                counts.request_bytes.inc_by(sent.map_or(0, |counted| counted.bytes));
                counts.response_bytes.inc_by(received.map_or(0, |counted| counted.bytes));
            }
        }
    }

    fn counts(&self, flow: &Flow) -> Option<Arc<ServiceCounters>> {
        let desired = self.desired.borrow();
        Some(self.counters.of(desired.as_ref()?.served.get(&flow.frontend)?))
    }
}

#[cfg(test)]
mod tests;
