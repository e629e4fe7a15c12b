//! Counts connections from the kernel's flow events into the [`ServiceCounters`] of their service.

use std::sync::Arc;

use tokio::sync::watch;

use super::counters::{ServiceCounters, TrafficCounters};
use crate::health::passive::Observation;
use crate::model::{Desired, Flow, FlowEvent, FlowKind, L4};

/// Counts what happens to flows.
#[derive(Debug)]
pub struct Traffic {
    desired: watch::Receiver<Option<Arc<Desired>>>,
    counters: TrafficCounters,
}

impl Traffic {
    /// A counter into `counters`; `desired` says which service stands behind a frontend.
    #[must_use]
    pub fn new(desired: watch::Receiver<Option<Arc<Desired>>>, counters: TrafficCounters) -> Self {
        Self { desired, counters }
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
        let Some(counts) = self.counts(flow) else { return };
        match kind {
            FlowKind::New => drop(counts.connections.inc()),
            FlowKind::Destroyed { replied, sent, received, .. } => {
                if !replied && flow.frontend.l4 == L4::Tcp {
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
