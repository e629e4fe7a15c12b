//! The metric registry and its text form.
//!
//! What is a count of things is computed from a snapshot when it is asked for; what is a count of events is counted
//! where the events are, through the handles of [`Handles`].

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::inputs::TelemetryInputs;
use crate::dataplane::conntrack::Census;
use crate::names::dns;
use crate::names::hosts::HostsMetrics;
use crate::sources::docker::DockerMetrics;
use crate::{dataplane, update};

mod active;
pub mod counters;
mod process;
mod sample;
mod state;
pub mod traffic;
mod updates;

use counters::TrafficCounters;

/// The media type of [`text()`]: OpenMetrics, which Prometheus reads by its content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What other modules count into. Cloning shares the counts.
#[derive(Debug, Clone, Default)]
pub struct Handles {
    /// For the dataplane.
    pub dataplane: dataplane::Metrics,
    /// For the resolver.
    pub dns: dns::ResolverMetrics,
    /// For the Docker source.
    pub docker: DockerMetrics,
    /// For hosts files.
    pub hosts: HostsMetrics,
    /// From the node's own update.
    pub update: update::Metrics,
    /// Connections, failures and bytes of each service. For whoever reads the kernel's flow events.
    pub traffic: TrafficCounters,
    /// How many connections are open.
    pub census: Census,
}

/// The registry with every metric. Counters get their `_total` when they are encoded.
#[must_use]
pub fn registry(inputs: &TelemetryInputs, handles: &Handles) -> Registry {
    let mut registry = Registry::default();
    registry.register("meshdog_build", "The agent's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let modules = registry.sub_registry_with_prefix("meshdog");
    handles.dataplane.register(modules);
    handles.dns.register(modules);
    handles.docker.register(modules);
    handles.hosts.register(modules);
    handles.update.register(modules);
    registry.register_collector(Box::new(state::StateCollector(inputs.clone())));
    registry.register_collector(Box::new(handles.traffic.clone()));
    registry.register_collector(Box::new(active::ActiveConnections {
        census: handles.census.clone(),
        desired: inputs.desired.clone(),
        counters: handles.traffic.clone(),
    }));
    registry.register_collector(Box::new(process::ProcessCollector));
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
