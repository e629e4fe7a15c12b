//! One entry of Docker's list of containers: what it says that can change, and a digest of all of it. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EndpointSettings};

use super::events::Death;
use super::inspect::{Attached, Attachment, Inspected, MAX_NAME, attached};
use super::service_names::ServiceNames;
use crate::model::untrusted::cut;
use crate::model::{ContainerId, DockerHealth};

/// What the list says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: ContainerId,
    /// Of all that is said and does not change by itself. Each life of a container that has a network has another.
    pub(super) digest: u64,
    /// Whether the digest differs from life to life.
    pub(super) has_network: bool,
    pub(super) names: Vec<Box<str>>,
    /// Absent where Docker does not say.
    pub(super) networks: Option<Vec<Attached>>,
    pub(super) paused: bool,
    /// Absent where it is not said.
    pub(super) health: Option<DockerHealth>,
}

impl Listed {
    /// Reads an entry; `None` where it has no id or does not run: one that restarts over and over stands in the list, too.
    pub(super) fn read(entry: ContainerSummary) -> Option<Self> {
        use ContainerSummaryStateEnum::{CREATED, DEAD, EXITED, REMOVING, RESTARTING};
        if matches!(entry.state, Some(CREATED | DEAD | EXITED | REMOVING | RESTARTING)) {
            return None;
        }
        let digest = digest(&entry);
        let ContainerSummary { id, names, state, status, network_settings, .. } = entry;
        let names = names.unwrap_or_default();
        let networks = network_settings.and_then(|settings| settings.networks);
        let has_endpoint = |one: &EndpointSettings| one.endpoint_id.as_ref().is_some_and(|id| !id.is_empty());
        let has_network = networks.as_ref().is_some_and(|networks| networks.values().any(has_endpoint));
        let networks = networks
            .map(|networks| sorted(networks.into_iter().map(|(name, settings)| attached(name, settings)).collect()));
        Some(Self {
            id: id?.into(),
            digest,
            has_network,
            names: names.iter().map(|name| cut(name.trim_start_matches('/'), MAX_NAME).into()).collect(),
            networks,
            paused: state == Some(ContainerSummaryStateEnum::PAUSED),
            health: status.as_deref().and_then(health),
        })
    }

    /// Whether it says what is known, as far as both know it. `health` and `paused` are the latest of them.
    pub(super) fn agrees(&self, known: &Inspected, health: DockerHealth, paused: bool) -> bool {
        let of_name = self.names.is_empty() || self.names.iter().any(|name| **name == *known.name);
        let of_networks = match (&self.networks, &known.attachment) {
            // What it shares is another container's, and said of that one.
            _ if known.hosts.joins.is_some() => true,
            (Some(listed), Attachment::Networks(known, _)) => *listed == sorted(known.clone()),
            _ => true,
        };
        of_name && of_networks && self.paused == paused && self.health.is_none_or(|listed| listed == health)
    }
}

fn sorted(mut networks: Vec<Attached>) -> Vec<Attached> {
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    networks
}

/// What stands in brackets after `Up 3 minutes`, which changes only when something happens.
fn note(status: &str) -> Option<&str> {
    Some(status.split_once('(')?.1.trim_end_matches(')'))
}

/// What the status says of health; nothing where it speaks of something else.
fn health(status: &str) -> Option<DockerHealth> {
    match note(status) {
        None => status.starts_with("Up").then_some(DockerHealth::None),
        Some("healthy") => Some(DockerHealth::Healthy),
        Some("unhealthy") => Some(DockerHealth::Unhealthy),
        Some("health: starting") => Some(DockerHealth::Starting),
        Some(_) => None,
    }
}

fn digest(entry: &ContainerSummary) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut names = entry.names.clone().unwrap_or_default();
    names.sort_unstable();
    let state = entry.state.as_ref().map(ToString::to_string);
    let note = entry.status.as_deref().and_then(note);
    (names, &entry.image, &entry.image_id, entry.created, state, note).hash(&mut hasher);
    pairs(entry.labels.as_ref()).hash(&mut hasher);
    entry.host_config.as_ref().and_then(|config| config.network_mode.as_ref()).hash(&mut hasher);
    let networks = pairs(entry.network_settings.as_ref().and_then(|settings| settings.networks.as_ref()));
    for (name, one) in networks {
        (name, &one.network_id, &one.endpoint_id, &one.ip_address, &one.global_ipv6_address).hash(&mut hasher);
    }
    let ports = entry.ports.iter().flatten();
    let mut ports: Vec<_> = ports
        .map(|port| (port.private_port, port.public_port, &port.ip, port.typ.as_ref().map(ToString::to_string)))
        .collect();
    ports.sort_unstable();
    ports.hash(&mut hasher);
    hasher.finish()
}

/// The pairs of a map in the order of their keys.
fn pairs<V>(map: Option<&HashMap<String, V>>) -> Vec<(&String, &V)> {
    let mut pairs: Vec<(&String, &V)> = map.into_iter().flatten().collect();
    pairs.sort_unstable_by_key(|(key, _)| *key);
    pairs
}

/// What the list says of a container that does not run: how it ended, and about how many milliseconds ago. `None` where it
/// never ran, or ended so long ago that the list counts hours.
pub(super) fn ended(entry: ContainerSummary) -> Option<(ContainerId, Death, u64)> {
    let (what, rest) = entry.status.as_deref()?.split_once(" (")?;
    if !matches!(what, "Exited" | "Restarting") {
        return None;
    }
    let (code, ago) = rest.split_once(") ")?;
    let ago_ms = ago_ms(ago.strip_suffix(" ago")?)?;
    let mut services = ServiceNames::default();
    entry.labels.iter().flatten().for_each(|(label, value)| services.take(label, value));
    let name = entry.names.iter().flatten().next().map_or("", |name| name.trim_start_matches('/'));
    let death = Death { name: cut(name, MAX_NAME).into(), services: services.sorted(), exit_code: code.parse().ok() };
    Some((entry.id?.into(), death, ago_ms))
}

/// A stretch of time as docker/go-units writes it, up to an hour.
fn ago_ms(text: &str) -> Option<u64> {
    let one = match text {
        "Less than a second" => return Some(0),
        "1 second" => return Some(1000),
        "About a minute" => return Some(60_000),
        "About an hour" => return Some(3_600_000),
        other => other.split_once(' ')?,
    };
    let unit = match one.1 {
        "seconds" => 1000,
        "minutes" => 60_000,
        _ => return None,
    };
    one.0.parse::<u16>().ok().map(|number| u64::from(number) * unit)
}

#[cfg(test)]
mod tests;
