//! What an inspected container comes down to. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use bollard::models::{
    ContainerInspectResponse, EndpointSettings, HealthStatusEnum, MountPoint, Network as DockerNetwork, PortBinding,
};

use super::signal::Signal;
use crate::model::label;
use crate::model::untrusted::cut;
use crate::model::{ContainerId, DockerHealth, HostsFile, IfName, L4, Network, PublishedPort};

/// The most labels of one container that are read: five thousand services of four keys, and room.
const MAX_LABELS: usize = 32_768;
/// The most bytes of labels, keys and values together, that are read.
const MAX_LABEL_BYTES: usize = 4 << 20;
/// The longest name or image reference that is kept, in bytes (a reference has at most 255 bytes of name and 128 of tag).
pub(super) const MAX_NAME: usize = 512;
/// The longest path of a hosts file that is kept, in bytes (`PATH_MAX`, linux/limits.h).
const MAX_PATH: usize = 4096;
/// The network mode of a container that shares another's, before that one's id.
const JOINS: &str = "container:";
/// The most ports of an image that are kept.
const MAX_PORTS: usize = 1024;
/// The most addresses of a container that are kept.
const MAX_ADDRESSES: usize = 64;

/// Ports that a container is known to use.
pub(super) type Ports = Arc<[(NonZeroU16, L4)]>;

/// A running container as one inspection saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) id: ContainerId,
    pub(super) name: Arc<str>,
    pub(super) image: Arc<str>,
    /// The image's id; absent where Docker does not say.
    pub(super) image_id: Option<Arc<str>>,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// Keys of labels of ours that are its image's.
    pub(super) baked: Arc<BTreeSet<String>>,
    pub(super) attachment: Attachment,
    /// Whether it was given name servers of its own.
    pub(super) own_dns: bool,
    pub(super) hosts: HostsPath,
    pub(super) health: DockerHealth,
    pub(super) started_ms: u64,
    pub(super) paused: bool,
    /// What `docker stop` sends it.
    pub(super) stop_signal: Signal,
}

impl Inspected {
    /// Whether any of its labels is one of ours.
    pub(super) fn has_labels_of_ours(&self) -> bool {
        self.of_ours().next().is_some()
    }

    /// Takes note of which labels of ours are its image's: Docker gives a container its image's labels, unless whoever
    /// creates it writes another value.
    pub(super) fn bake(&mut self, image: &HashMap<String, String>) {
        let baked = self.of_ours().filter(|(key, value)| image.get(*key) == Some(value));
        self.baked = Arc::new(baked.map(|(key, _)| key.clone()).collect());
    }

    fn of_ours(&self) -> impl Iterator<Item = (&String, &String)> {
        self.labels.iter().filter(|(key, _)| key.starts_with(label::PREFIX))
    }
}

/// What Docker says of a container's `/etc/hosts`, before it is known where Docker keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HostsPath {
    /// The file on the host; empty: none.
    pub(super) path: Arc<str>,
    /// Whether the user has mounted something there.
    pub(super) mounted: bool,
    /// The container whose network it shares.
    pub(super) joins: Option<ContainerId>,
}

impl HostsPath {
    /// Whose file it is. Docker's own has exactly the path that Docker gives it, below its root.
    pub(super) fn resolve(&self, id: &ContainerId, root: Option<&Path>) -> HostsFile {
        let Some(root) = root.filter(|_| !self.path.is_empty()) else { return HostsFile::None };
        let owner = self.joins.as_ref().unwrap_or(id);
        // Docker's ids alone: nothing else may become a part of a path.
        let is_id = owner.len() == 64 && owner.bytes().all(|b| b.is_ascii_hexdigit());
        let own = root.join("containers").join(&**owner).join("hosts");
        match is_id && !self.mounted && own.as_os_str() == &*self.path {
            true => HostsFile::Docker(owner.clone()),
            false => HostsFile::Users,
        }
    }
}

/// How a container is attached, before it is known which networks are bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attachment {
    /// The host's network; the ports that the image names.
    Host(Ports),
    /// Networks of its own, the one of its network mode first, then by name; and its ports that are published on the host.
    Networks(Vec<Attached>, Arc<[PublishedPort]>),
    /// Another container's network.
    Joins(ContainerId),
    /// None that the mesh can use; why.
    Nothing(Arc<str>),
}

/// One network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) network: String,
    pub(super) address: Option<IpAddr>,
}

impl Attachment {
    /// Its addresses on bridge networks, sorted, given these by id.
    pub(super) fn addresses(&self, bridges: &BTreeMap<String, IfName>) -> Arc<[IpAddr]> {
        let Self::Networks(networks, _) = self else { return Arc::default() };
        let on_bridges = networks.iter().filter(|n| bridges.contains_key(&n.network));
        let mut addresses: Vec<IpAddr> = on_bridges.filter_map(|n| n.address).take(MAX_ADDRESSES).collect();
        addresses.sort_unstable();
        addresses.into()
    }

    /// The bridges that it is on, that of its mesh address first, given the bridge networks by id.
    pub(super) fn bridges(&self, bridges: &BTreeMap<String, IfName>) -> Arc<[IfName]> {
        let Self::Networks(networks, _) = self else { return Arc::default() };
        let with_address = networks.iter().filter(|n| n.address.is_some());
        with_address.filter_map(|n| bridges.get(&n.network).cloned()).take(MAX_ADDRESSES).collect()
    }

    /// How the mesh sees it, given the bridge networks by id.
    pub(super) fn resolve(&self, bridges: &BTreeMap<String, IfName>) -> Network {
        let (networks, published) = match self {
            Self::Host(ports) => return Network::Host { ports: ports.clone() },
            Self::Joins(other) => {
                return Network::Unsupported(format!("it shares the network of {other}, which is not known").into());
            }
            Self::Nothing(why) => return Network::Unsupported(why.clone()),
            Self::Networks(networks, published) => (networks, published),
        };
        let usable = networks.iter().filter(|n| bridges.contains_key(&n.network));
        let with_address = usable.clone().find_map(|n| n.address);
        match (with_address, networks.first()) {
            (Some(address), _) => Network::Bridge { address: address.into(), published: published.clone() },
            (None, None) => Network::Unsupported("it is attached to no network".into()),
            (None, Some(first)) if usable.clone().next().is_none() => {
                Network::Unsupported(format!("its network {} is not a bridge network", first.name).into())
            }
            (None, Some(first)) => {
                Network::Unsupported(format!("network {} gave it no IPv4 address", first.name).into())
            }
        }
    }
}

/// Digests what Docker says of a container; `None` where it does not run.
pub(super) fn digest(response: ContainerInspectResponse) -> Option<Inspected> {
    let state = response.state.unwrap_or_default();
    // Between two lives (restart policy) a container is "running" and has no process.
    if !state.running.unwrap_or(false) || state.restarting.unwrap_or(false) {
        return None;
    }
    let id: ContainerId = response.id?.into();
    let config = response.config.unwrap_or_default();
    let host_config = response.host_config.unwrap_or_default();
    let mode = host_config.network_mode.unwrap_or_default();
    let mounted = |mount: &MountPoint| mount.destination.as_deref() == Some("/etc/hosts");
    let hosts = HostsPath {
        path: cut(response.hosts_path.as_deref().unwrap_or_default(), MAX_PATH).into(),
        mounted: response.mounts.iter().flatten().any(mounted),
        joins: mode.strip_prefix(JOINS).map(Into::into),
    };
    let (labels, attachment) = match bounded(config.labels.unwrap_or_default()) {
        Some(labels) => {
            let network = response.network_settings.unwrap_or_default();
            let published = published_ports(&network.ports.unwrap_or_default());
            let networks = network.networks.unwrap_or_default();
            (labels, attachment(&mode, networks, published, &config.exposed_ports.unwrap_or_default()))
        }
        None => {
            let why = format!("it has more than {MAX_LABELS} labels or {MAX_LABEL_BYTES} bytes of them");
            (BTreeMap::new(), Attachment::Nothing(why.into()))
        }
    };
    let started = state.started_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    Some(Inspected {
        id,
        name: cut(response.name.as_deref().unwrap_or_default().trim_start_matches('/'), MAX_NAME).into(),
        image: cut(config.image.as_deref().unwrap_or_default(), MAX_NAME).into(),
        image_id: response.image.as_deref().map(|id| cut(id, MAX_NAME).into()),
        labels: Arc::new(labels),
        baked: Arc::default(),
        attachment,
        own_dns: host_config.dns.is_some_and(|servers| !servers.is_empty()),
        hosts,
        health: match state.health.and_then(|health| health.status) {
            Some(HealthStatusEnum::STARTING) => DockerHealth::Starting,
            Some(HealthStatusEnum::HEALTHY) => DockerHealth::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => DockerHealth::Unhealthy,
            Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => DockerHealth::None,
        },
        started_ms: started.and_then(|at| u64::try_from(at.as_millisecond()).ok()).unwrap_or_default(),
        paused: state.paused.unwrap_or(false),
        stop_signal: config.stop_signal.as_deref().and_then(Signal::parse).unwrap_or(Signal::TERM),
    })
}

fn bounded(labels: HashMap<String, String>) -> Option<BTreeMap<String, String>> {
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    (labels.len() <= MAX_LABELS && bytes <= MAX_LABEL_BYTES).then(|| labels.into_iter().collect())
}

fn attachment(
    mode: &str,
    networks: HashMap<String, EndpointSettings>,
    published: Arc<[PublishedPort]>,
    exposed: &[String],
) -> Attachment {
    if let Some(other) = mode.strip_prefix(JOINS) {
        return Attachment::Joins(other.into());
    }
    match mode {
        "host" => Attachment::Host(exposed_ports(exposed)),
        "none" => Attachment::Nothing("its network mode is none".into()),
        _ => {
            // "default" is what the API calls the network that the command line calls "bridge".
            let preferred = if mode == "default" { "bridge" } else { mode };
            let mut networks: Vec<Attached> =
                networks.into_iter().map(|(name, settings)| attached(name, settings)).collect();
            networks.sort_by_cached_key(|n| (n.name != preferred && n.network != preferred, n.name.clone()));
            Attachment::Networks(networks, published)
        }
    }
}

pub(super) fn attached(name: String, settings: EndpointSettings) -> Attached {
    let address =
        settings.ip_address.and_then(|ip| ip.parse().ok()).filter(|ip: &IpAddr| ip.is_ipv4() && !ip.is_unspecified());
    Attached { name, network: settings.network_id.unwrap_or_default(), address }
}

fn exposed_ports(exposed: &[String]) -> Ports {
    let mut ports: Vec<(NonZeroU16, L4)> = exposed.iter().filter_map(|text| port(text)).take(MAX_PORTS).collect();
    ports.sort_unstable();
    ports.into()
}

/// Ports as Docker publishes them on the host. Those that are published on a loopback address are nobody else's.
fn published_ports(ports: &HashMap<String, Option<Vec<PortBinding>>>) -> Arc<[PublishedPort]> {
    let published = |(text, bindings): (&String, &Option<Vec<PortBinding>>)| {
        let (port, l4) = port(text)?;
        let one = move |binding: &PortBinding| {
            let host_ip: Option<IpAddr> = match binding.host_ip.as_deref() {
                None | Some("") => None,
                Some(ip) => Some(ip.parse().ok()?),
            };
            let host_port = binding.host_port.as_deref()?.parse().ok()?;
            let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
            (!host_ip.is_some_and(|ip| ip.is_loopback())).then_some(PublishedPort { port, l4, host_ip, host_port })
        };
        Some(bindings.iter().flatten().filter_map(one).collect::<Vec<_>>())
    };
    let mut all: Vec<PublishedPort> = ports.iter().filter_map(published).flatten().collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(MAX_PORTS);
    all.into()
}

/// A port as Docker writes it: `8080/tcp`.
fn port(text: &str) -> Option<(NonZeroU16, L4)> {
    let (port, l4) = text.split_once('/').unwrap_or((text, "tcp"));
    let l4 = match l4 {
        "tcp" => L4::Tcp,
        "udp" => L4::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, l4))
}

/// The interface of a Docker network: its id and the bridge's name; `None` for another kind of network.
pub(super) fn bridge(network: DockerNetwork) -> Option<(String, IfName)> {
    if network.driver.as_deref() != Some("bridge") {
        return None;
    }
    let id = network.id?;
    let named = network.options.as_ref().and_then(|options| options.get("com.docker.network.bridge.name"));
    let name = match named {
        Some(name) => IfName::new(name),
        None => IfName::new(&format!("br-{}", id.get(..12)?)),
    };
    Some((id, name?))
}

#[cfg(test)]
mod tests;
