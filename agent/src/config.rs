//! User data (TOML) to validated settings, in three stages: raw (`config::raw`), merged with what the host says
//! (`config::node`), validated newtypes (here). Nothing outside this module sees the raw form.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv6Net;
use url::Url;

use crate::model::{Alias, AppProtocol, DiscoveryName, HealthCheck, Namespace, VipCidr};

/// A setting that is either given or found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auto<T> {
    /// Found out from the host.
    Auto,
    /// Given.
    Set(T),
}

/// Everything the user data says, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[node]`
    pub node: NodeSettings,
    /// `[mesh]`
    pub mesh: MeshSettings,
    /// `[registry]`
    pub registry: Registry,
    /// `[dns]`
    pub dns: DnsSettings,
    /// `[[service]]`, in the order of the file.
    pub services: Vec<ServiceRule>,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[paths]`
    pub paths: Paths,
}

/// `[node]`: who this node is to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The address other nodes reach this one at.
    pub advertise: Auto<Ipv4Addr>,
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
    /// Where IPv4 VIPs come from.
    pub vip_cidr: VipCidr,
    /// Where IPv6 VIPs come from.
    pub vip_cidr6: Ipv6Net,
    /// What programs the kernel.
    pub backend: Backend,
    /// Which endpoints are preferred.
    pub locality: Locality,
}

impl MeshSettings {
    /// The namespaces whose services can be dialled here: the node's own first, then the imports.
    pub fn dialled(&self) -> impl Iterator<Item = &Namespace> {
        std::iter::once(&self.namespace).chain(&self.import)
    }
}

/// `mesh.backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
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
pub enum Registry {
    /// This node only.
    Local,
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whether containers' port-53 queries are answered here.
    pub capture: bool,
    /// Where queries for other names go; `Auto`: the host's resolv.conf.
    pub upstream: Auto<Vec<SocketAddr>>,
}

/// `[[service]]`: makes endpoints of containers whose labels cannot be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRule {
    /// The service's discovery name.
    pub name: DiscoveryName,
    /// Which containers. Every pattern that is given must match.
    pub matches: Match,
    /// The container's port.
    pub port: NonZeroU16,
    /// What clients dial. Never empty.
    pub alias: Vec<Alias>,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// How its health is asked; absent: by the container's own Docker health check, if it has one.
    pub health: Option<HealthCheck>,
}

/// `[[service]].match`: glob patterns (`*`, `?`), all of which must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// ECS task definition family (label `com.amazonaws.ecs.task-definition-family`).
    pub family: Option<Glob>,
    /// ECS container name (label `com.amazonaws.ecs.container-name`), else the Docker name.
    pub container: Option<Glob>,
    /// Image reference as the container was created with.
    pub image: Option<Glob>,
    /// Labels by name.
    pub labels: Vec<(String, Glob)>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Where Prometheus metrics are served; `None` (written `""`): only on the admin socket. Loopback only.
    pub metrics: Option<SocketAddr>,
    /// A `tracing` filter, such as `info` or `info,meshdog::dns=debug`.
    pub log: String,
}

/// `[paths]`: defaults are those of a superpowered host container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The host API's Unix socket.
    pub api_socket: PathBuf,
    /// dockerd's Unix socket.
    pub docker_socket: PathBuf,
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
}

mod glob;
pub mod node;

pub use glob::Glob;
