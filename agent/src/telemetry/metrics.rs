//! The metric registry and its text form.
//!
//! What is a count of things is computed from a snapshot when it is asked for; what is a count of events is counted
//! where the events are, through the handles of [`Handles`].

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::inputs::Inputs;

pub mod flows;
mod process;
mod state;

use flows::Flows;

/// The media type of [`text()`]: OpenMetrics, which Prometheus reads by its content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What other modules count into. Cloning shares the counts.
#[derive(Debug, Clone)]
pub struct Handles {
    /// How long each reconcile of the kernel's tables took, in seconds. For the dataplane.
    pub reconcile_seconds: Histogram,
    /// Connections, failures and bytes of each service. For whoever reads the kernel's flow events.
    pub flows: Flows,
}

impl Default for Handles {
    fn default() -> Self {
        // 0.1 ms to 0.8 s.
        Self { reconcile_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 14)), flows: Flows::default() }
    }
}

/// The registry with every metric but those that a module owns itself (DNS), which are added to it before it is
/// handed to the admin socket. Names are written out in full; counters get their `_total` when they are encoded.
#[must_use]
pub fn registry(inputs: &Inputs, handles: &Handles) -> Registry {
    let mut registry = Registry::default();
    registry.register("meshdog_build", "The agent's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry.register(
        "meshdog_reconcile_seconds",
        "Time taken to bring the kernel's tables to what is desired",
        handles.reconcile_seconds.clone(),
    );
    registry.register_collector(Box::new(state::Collector(inputs.clone())));
    registry.register_collector(Box::new(handles.flows.clone()));
    registry.register_collector(Box::new(process::Collector));
    registry
}

/// Everything registered, as OpenMetrics text of type [`CONTENT_TYPE`].
///
/// # Errors
/// When a collector fails; none of ours does.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, registry)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
