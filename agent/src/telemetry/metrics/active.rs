//! How many connections of each service are open: what the kernel knows of its frontends, when it is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use tokio::sync::watch;

use super::counters::TrafficCounters;
use crate::dataplane::conntrack::{Census, OpenConnections};
use crate::model::{Desired, ServiceId};

/// Writes `meshdog_connections_active`.
#[derive(Debug)]
pub(super) struct ActiveConnections {
    pub(super) census: Census,
    pub(super) desired: watch::Receiver<Option<Arc<Desired>>>,
    /// Whose series are there, open connections or not.
    pub(super) counters: TrafficCounters,
}

impl Collector for ActiveConnections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let desired = self.desired.borrow().clone().unwrap_or_default();
        let mut services = by_service(&self.census.open(), &desired);
        for service in self.counters.services() {
            services.entry(service).or_default();
        }
        let help = "Connections through the mesh that are open now (UDP: flows that are tracked)";
        let kind = <Gauge as TypedMetric>::TYPE;
        let mut series = encoder.encode_descriptor("meshdog_connections_active", help, None, kind)?;
        for (id, open) in &services {
            let labels = [("namespace", id.namespace.as_str()), ("service", id.name.as_str())];
            ConstGauge::new(i64::try_from(*open).unwrap_or(i64::MAX)).encode(series.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Whose connections they are: of the service behind the frontend, or if nobody serves there any more, of the one that
/// has the VIP.
fn by_service(open: &OpenConnections, desired: &Desired) -> BTreeMap<ServiceId, u64> {
    let mut services: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for (frontend, count) in open {
        let service = desired.served.get(frontend).or_else(|| desired.holders.get(&frontend.vip));
        if let Some(service) = service {
            *services.entry(service.clone()).or_default() += count;
        }
    }
    services
}

#[cfg(test)]
mod tests;
