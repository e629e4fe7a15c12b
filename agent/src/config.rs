//! User data (TOML) to validated settings: a spanned document, read table by table (`reader`, `validate`, `services`,
//! `update`) into newtypes. Every fault of a file is found in one go and told at its line and column.
//!
//! Nothing outside this module sees the raw form. What the settings leave to the host ([`Auto`]) is found out by
//! `sources::host` and `sources::resolv_conf`. The least that is a configuration:
//!
//! ```
//! # let path = std::path::Path::new("user-data");
//! let settings = meshdog::config::parse(path, r#"
//!     version = 1
//!     mesh.namespace = "prod"
//! "#)?;
//! assert_eq!(settings.mesh.namespace.as_str(), "prod");
//! # Ok::<(), meshdog::config::Errors>(())
//! ```

mod errors;
mod glob;
mod reader;
mod services;
pub mod update;
mod validate;
mod values;
mod window;

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing_subscriber::filter::Targets;
use url::Url;

pub use errors::{Error, Errors};
pub use glob::Glob;
pub use update::UpdateSettings;
pub use window::{Window, WindowError};

use crate::model::{Alias, AppProtocol, DiscoveryName, HealthCheck, Namespace, VipRanges};

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

/// `[registry.etcd]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Addresses of the cluster's members. Never empty.
    pub endpoints: Vec<Url>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// ECS task definition family (label `com.amazonaws.ecs.task-definition-family`).
    pub family: Option<Glob>,
    /// ECS container name (label `com.amazonaws.ecs.container-name`), else the Docker name.
    pub container: Option<Glob>,
    /// Image reference as the container was created with.
    pub image: Option<Glob>,
    /// Labels, in the order of their names.
    pub labels: Vec<(String, Glob)>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// Where Prometheus metrics are served; `None` (written `""`): only on the admin socket. Loopback only.
    pub metrics: Option<SocketAddr>,
    /// A `tracing` filter, such as `info` or `info,meshdog::dns=debug`.
    pub log: Targets,
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
    /// Where the kernel says which boot this is.
    pub boot_id: PathBuf,
}

/// Largest configuration, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads a configuration file and validates it.
///
/// # Errors
/// Every fault of the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Settings, Errors> {
    parse(path, &read(path)?)
}

/// Reads a configuration file as text, unvalidated.
///
/// # Errors
/// Why it cannot be read: it is not there, larger than [`MAX_BYTES`], or not UTF-8.
pub fn read(path: &Path) -> Result<String, Errors> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|problem| Errors::of_file(path, format!("cannot be read: {problem}; check --config and the file")))?;
    if bytes.len() > MAX_BYTES {
        return Err(Errors::too_large(path));
    }
    String::from_utf8(bytes).map_err(|problem| {
        let end = problem.utf8_error().valid_up_to();
        let valid = String::from_utf8_lossy(problem.as_bytes().get(..end).unwrap_or_default());
        let mut faults = errors::Faults::default();
        faults.wrong(end, "is not UTF-8 from here on; save the file as UTF-8".to_owned());
        faults.into_errors(path, &valid)
    })
}

/// Validates the text of a configuration. `path` is only named in messages.
///
/// # Errors
/// Every fault of the text.
pub fn parse(path: &Path, text: &str) -> Result<Settings, Errors> {
    validate::settings(path, text)
}

#[cfg(test)]
mod tests;
