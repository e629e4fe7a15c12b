//! What is in the way between containers of this node, for people.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Container, DesiredService, IfName};
use crate::telemetry::inputs::Snapshot;

/// Longest list of services.
const SERVICES: usize = 8;

/// The bridges that a service's endpoints on this node are on.
fn bridges(now: &Snapshot, service: &DesiredService) -> BTreeSet<IfName> {
    let running = now.containers.as_ref().map(|containers| &containers.running);
    let of =
        |id: &Arc<str>| running.and_then(|running| running.get(id)).and_then(|container| container.bridges.first());
    service.endpoints.iter().filter_map(|one| of(&one.endpoint.container)).cloned().collect()
}

/// Whose containers cannot reach a service's endpoints, and why.
pub(super) fn to_service(now: &Snapshot, service: &DesiredService) -> Vec<String> {
    if now.closed_roads.is_empty() {
        return Vec::new();
    }
    let servers = bridges(now, service);
    let closed = now.closed_roads.iter().filter(|((_, to), _)| servers.contains(to));
    closed
        .map(|((from, to), why)| {
            format!("clients on {from} are refused its endpoints on {to}: what goes from {from} to {to} is {why}")
        })
        .collect()
}

/// The services that a container cannot reach, since they are on a network where its own leads nowhere, and why.
pub(super) fn from_container(now: &Snapshot, container: &Container) -> Vec<String> {
    let Some(own) = container.bridges.first() else { return Vec::new() };
    let closed = now.closed_roads.iter().filter(|((from, _), _)| from == own);
    closed
        .filter_map(|((_, to), why)| {
            let there = now.desired.services.iter().filter(|(_, service)| bridges(now, service).contains(to));
            let mut names: Vec<String> = there.map(|((id, _), _)| id.to_string()).collect();
            names.dedup();
            let more = names.len().saturating_sub(SERVICES);
            names.truncate(SERVICES);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let names = names.join(", ");
            (!names.is_empty()).then(|| format!("refused it are {names}{more} on {to}: what goes there is {why}"))
        })
        .collect()
}
