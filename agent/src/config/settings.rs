//! The settings, as every module below has them: always valid.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tracing_subscriber::filter::Targets;
use url::Url;

use super::etcd::EtcdSettings;
use super::glob::Glob;
use super::services::ServiceRule;
use super::update::UpdateSettings;
use super::values::Auto;
use crate::model::{Namespace, VipRanges};

/// Everything the user data says, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[node]`
    pub node: NodeSettings,
    /// `[mesh]`
    pub mesh: MeshSettings,
    /// `[registry]`
    pub registry: RegistryKind,
    /// `[registry.etcd]`: the cluster that the fleet shares, if there is one. What `registry.kind` says does not matter.
    pub etcd: Option<EtcdSettings>,
    /// `[dns]`
    pub dns: DnsSettings,
    /// `[[service]]`, in the order of the file.
    pub services: Vec<ServiceRule>,
    /// `[update]`
    pub update: UpdateSettings,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[paths]`
    pub paths: Paths,
}

/// `[node]`: who this node is to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The address other nodes reach this one at.
    pub advertise: Auto<IpAddr>,
    /// The availability zone; `Set(None)` where there is none.
    pub zone: Auto<Option<Arc<str>>>,
}

/// `[mesh]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Where this node's endpoints are published unless a label says otherwise.
    pub namespace: Namespace,
    /// Further namespaces that clients here may dial, in order of precedence.
    pub import: Vec<Namespace>,
    /// Where VIPs come from: `vip_cidr` and `vip_cidr6`.
    pub vip_ranges: VipRanges,
    /// What programs the kernel.
    pub backend: BackendKind,
    /// Which endpoints are preferred.
    pub locality: Locality,
    /// Whether labels that are baked into an image count, too.
    pub image_labels: bool,
    /// Names beyond their namespace that labels may claim.
    pub alias_allow: Vec<Glob>,
}

impl MeshSettings {
    /// The namespaces whose services can be dialled here: the node's own first, then the imports.
    pub fn dialled(&self) -> impl Iterator<Item = &Namespace> {
        std::iter::once(&self.namespace).chain(&self.import)
    }
}

/// `mesh.backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// nftables where the kernel has it.
    Auto,
    /// nftables over netlink.
    Nftables,
}

/// `mesh.locality`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// Endpoints of the node's own zone while any of them serves.
    PreferZone,
    /// All alike.
    None,
}

/// `[registry]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryKind {
    /// This node only.
    Local,
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whether mesh names are written into containers' hosts files.
    pub hosts: bool,
    /// Whether containers' port-53 queries are answered here.
    pub capture: bool,
    /// Whether the host's own processes get names in the mesh's namespaces, too.
    pub host: bool,
    /// Whether names below a dotted namespace that are not known do not exist; below one of a single label it is so
    /// anyway.
    pub authoritative: bool,
    /// Where the host's own queries for other names go, where [`Self::host`] has them captured; `Auto`: where they were
    /// sent.
    pub upstream: Auto<Vec<SocketAddr>>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// Where Prometheus metrics are served; `None` (written `""`): only on the admin socket. Loopback only.
    pub metrics: Option<SocketAddr>,
    /// A `tracing` filter, such as `info` or `info,meshdog::names::dns=debug`.
    pub log: Targets,
}

/// `[paths]`: defaults are those of a superpowered host container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The host API's Unix socket.
    pub api_socket: PathBuf,
    /// dockerd's Unix socket.
    pub docker_socket: PathBuf,
    /// Where Docker keeps its files, as seen from here; `Auto`: where it says, as the host sees it.
    pub docker_root: Auto<PathBuf>,
    /// Where state that survives restarts is kept.
    pub state_dir: PathBuf,
    /// The agent's own admin socket.
    pub admin_socket: PathBuf,
    /// The ECS agent's introspection API.
    pub ecs_introspection: Url,
    /// The host's signpost program.
    pub signpost: PathBuf,
    /// The instance metadata service.
    pub imds: Url,
    /// Where the kernel says which boot this is.
    pub boot_id: PathBuf,
}
