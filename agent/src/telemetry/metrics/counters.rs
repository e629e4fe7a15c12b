//! What happened to each service's connections: counted from the kernel's flow events, dropped with the service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::model::{Desired, L4, ServiceId};

/// Least time between two sweeps for vanished services.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// One service's counts.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Connections (UDP: flows) begun.
    pub connections: Counter,
    /// Connections that were refused or not answered.
    pub connect_failures: Counter,
    /// Endpoints put aside because connections to them failed.
    pub ejections: Counter,
    /// Bytes that clients sent.
    pub request_bytes: Counter,
    /// Bytes that endpoints sent.
    pub response_bytes: Counter,
}

/// The counts of every service. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct TrafficCounters(Arc<Mutex<BTreeMap<ServiceId, Arc<ServiceCounters>>>>);

impl TrafficCounters {
    /// A service's counts, new ones if it has none. To be asked for services that can be dialled here only.
    #[must_use]
    pub fn of(&self, service: &ServiceId) -> Arc<ServiceCounters> {
        let mut flows = self.lock();
        match flows.get(service) {
            Some(flow) => Arc::clone(flow),
            None => Arc::clone(flows.entry(service.clone()).or_default()),
        }
    }

    /// Forgets the services for which this is false.
    pub fn retain(&self, mut keep: impl FnMut(&ServiceId) -> bool) {
        self.lock().retain(|service, _| keep(service));
    }

    /// The services that have counts.
    pub(super) fn services(&self) -> Vec<ServiceId> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Arc<ServiceCounters>>> {
        // The map is whole after every statement, so a panic elsewhere while it was held does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the counts of services that can no longer be dialled, so that names which come and go cost nothing.
/// Returns when the mesh is gone.
pub async fn prune(mut desired: watch::Receiver<Option<Arc<Desired>>>, flows: TrafficCounters) {
    while desired.changed().await.is_ok() {
        // Gone before the pause: it would hold all that the mesh has dropped since.
        {
            let now = desired.borrow_and_update().clone().unwrap_or_default();
            flows.retain(|id| [L4::Tcp, L4::Udp].into_iter().any(|l4| now.services.contains_key(&(id.clone(), l4))));
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

impl Collector for TrafficCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let flows: Vec<_> = self.lock().iter().map(|(id, flow)| (id.clone(), Arc::clone(flow))).collect();
        let help = "Connections (UDP: flows) through the mesh that were begun";
        family(&mut encoder, "meshdog_connections", help, &flows, |flow| &flow.connections)?;
        let help = "Connections through the mesh that were refused or not answered";
        family(&mut encoder, "meshdog_connect_failures", help, &flows, |flow| &flow.connect_failures)?;
        let help = "Endpoints put aside because connections to them failed";
        family(&mut encoder, "meshdog_ejections", help, &flows, |flow| &flow.ejections)?;

        let help = "Bytes through the mesh, from clients (request) and from endpoints (response)";
        let mut bytes = encoder.encode_descriptor("meshdog_bytes", help, None, <Counter as TypedMetric>::TYPE)?;
        for (id, flow) in &flows {
            for (direction, count) in [("request", &flow.request_bytes), ("response", &flow.response_bytes)] {
                let labels =
                    [("namespace", id.namespace.as_str()), ("service", id.name.as_str()), ("direction", direction)];
                count.encode(bytes.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn family<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    flows: &[(ServiceId, Arc<ServiceCounters>)],
    metric: impl Fn(&ServiceCounters) -> &M,
) -> Result<(), fmt::Error> {
    let mut series = encoder.encode_descriptor(name, help, None, M::TYPE)?;
    for (id, flow) in flows {
        let labels = [("namespace", id.namespace.as_str()), ("service", id.name.as_str())];
        metric(flow).encode(series.encode_family(&labels)?)?;
    }
    Ok(())
}
