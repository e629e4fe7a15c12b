//! Metrics that are read off a snapshot when Prometheus asks, so that no change has to keep them up to date.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::sample::{count, gauge};
use super::updates;
use crate::model::{Desired, EndpointState, ServiceId, SourceState};
use crate::telemetry::inputs::TelemetryInputs;

/// Reads [`TelemetryInputs`] at each scrape.
#[derive(Debug)]
pub(super) struct StateCollector(pub(super) TelemetryInputs);

impl prometheus_client::collector::Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.0.snapshot();
        endpoints(&mut encoder, &now.desired)?;

        let help = "Whether a source answers; sources that this node does not use have no series";
        let mut up = encoder.encode_descriptor("meshdog_source_up", help, None, MetricType::Gauge)?;
        for (name, source) in now.sources.named() {
            if source.state != SourceState::Off {
                up.encode_family(&[("source", name)])?.encode_gauge(&i64::from(source.state == SourceState::Up))?;
            }
        }

        let faults: usize = now.offered.values().map(|offers| offers.faults.len() + offers.more_faults).sum();
        gauge(&mut encoder, "meshdog_label_faults", "Labels of running containers that cannot be used", count(faults))?;

        let help = "Names that the labels of this node's containers ask for, as far as the node's budget has room";
        gauge(&mut encoder, "meshdog_budget_names", help, count(now.budget().names))?;
        let help = "Services of containers' labels that the node's budget has no room for";
        gauge(&mut encoder, "meshdog_budget_refused", help, count(now.budget().refused))?;

        let help =
            "Whether containers' DNS queries are captured and answered by the agent; 0 where dns.capture is false";
        gauge(&mut encoder, "meshdog_dns_up", help, i64::from(now.resolver.is_answering()))?;

        let help = "Containers' hosts files that tell mesh names";
        gauge(&mut encoder, "meshdog_hosts_files", help, count(now.hosts.written()))?;

        updates::encode(&mut encoder, &now.update)
    }
}

/// Every state of every service, so that an alert on zero healthy endpoints has a zero to see. Endpoints over TCP and
/// over UDP count together.
fn endpoints(encoder: &mut DescriptorEncoder<'_>, desired: &Desired) -> Result<(), fmt::Error> {
    let help = "Endpoints of the services that can be dialled here, by state";
    let mut series = encoder.encode_descriptor("meshdog_endpoints", help, None, MetricType::Gauge)?;
    let mut emit = |id: &ServiceId, counts: &[usize; EndpointState::ALL.len()]| {
        EndpointState::ALL.iter().zip(counts).try_for_each(|(state, &endpoints)| {
            let labels =
                [("namespace", id.namespace.as_str()), ("service", id.name.as_str()), ("state", state.as_str())];
            series.encode_family(&labels)?.encode_gauge(&count(endpoints))
        })
    };
    // A service's transports stand next to each other in the map.
    let mut services = desired.services.iter().peekable();
    let mut counts = [0; EndpointState::ALL.len()];
    while let Some(((id, _), service)) = services.next() {
        for (total, state) in counts.iter_mut().zip(EndpointState::ALL) {
            *total += service.endpoints.iter().filter(|endpoint| endpoint.state == state).count();
        }
        if services.peek().is_none_or(|((next, _), _)| next != id) {
            emit(id, &counts)?;
            counts = [0; EndpointState::ALL.len()];
        }
    }
    Ok(())
}
