//! The node's own update in metrics, read off its state.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::sample::{count, gauge};
use crate::update::machine::{End, State};
use crate::update::summary;

/// Everything that can be read off the state. What is not known now has no series.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), fmt::Error> {
    let memory = &state.memory;

    let help = "1 for the phase that the node's update is in";
    let mut phase = encoder.encode_descriptor("meshdog_update_phase", help, None, MetricType::Gauge)?;
    phase.encode_family(&[("phase", state.phase().as_str())])?.encode_gauge(&1_i64)?;

    let help = "Updates that were taken back since a person last said resume";
    gauge(encoder, "meshdog_update_rollbacks", help, memory.rollbacks)?;
    let refused = count(summary::refused(state).len());
    gauge(encoder, "meshdog_update_refused_versions", "Versions that this node will not take", refused)?;
    let help = "Whether no update begins until a person says resume";
    gauge(encoder, "meshdog_update_held", help, i64::from(memory.held.is_some()))?;

    let help = "Connections that this node's endpoints have left while they drain for an update";
    let mut draining = encoder.encode_descriptor("meshdog_update_drain_connections", help, None, MetricType::Gauge)?;
    if let Some(left) = summary::connections(state) {
        draining.encode_gauge(&left)?;
    }

    let help = "Whether a check holds on the version that is verified";
    let mut check = encoder.encode_descriptor("meshdog_update_check", help, None, MetricType::Gauge)?;
    for found in summary::report(state).iter().flat_map(|report| &report.checks) {
        check.encode_family(&[("check", &*found.name)])?.encode_gauge(&i64::from(found.ok))?;
    }

    if let Some(verdict) = &memory.verdict {
        let help = "Whether the version that was judged last was found good";
        gauge(encoder, "meshdog_update_last_verdict_good", help, i64::from(verdict.good))?;
        let help = "When that was, in seconds since the Unix epoch";
        gauge(encoder, "meshdog_update_last_verdict_timestamp_seconds", help, verdict.at.as_second())?;
    }

    let help = "The updates that are remembered (the last 20), by how they ended";
    let mut ends = encoder.encode_descriptor("meshdog_update_ends", help, None, MetricType::Gauge)?;
    End::ALL.into_iter().try_for_each(|end| {
        let ended = memory.history.iter().filter(|past| past.end == end).count();
        ends.encode_family(&[("end", end.as_str())])?.encode_gauge(&count(ended))
    })
}

#[cfg(test)]
mod tests;
