//! What runs on this node and what the host says of itself: snapshots, then deltas.
//!
//! `watch::docker` owns the connection to dockerd and publishes [`Containers`]; `watch::ecs` owns the ECS agent's
//! introspection API; `watch::host` owns the host's API and publishes [`Node`]; `watch::resolv_conf` publishes the
//! host's name servers; `watch::offers` (pure) turns a container and the settings into the endpoints it offers. Never
//! decides about health, never touches the kernel's tables.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::model::{IfName, L4, Source, SourceState};

pub mod docker;
pub mod ecs;
pub mod host;
pub mod offers;
pub mod resolv_conf;

/// A container's full id: 64 hexadecimal digits.
pub type ContainerId = Arc<str>;

/// What Docker runs, as one snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Containers {
    /// Running containers (those whose stop has begun included) by id.
    pub running: OrdMap<ContainerId, Arc<Container>>,
    /// The interfaces of Docker's bridge networks.
    pub bridges: OrdSet<IfName>,
}

/// What `docker inspect` says of a running container, as far as the mesh needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its Docker name, without the leading slash.
    pub name: Arc<str>,
    /// The image reference it was created with.
    pub image: Arc<str>,
    /// Its labels. Untrusted.
    pub labels: Arc<BTreeMap<String, String>>,
    /// How it is attached to the network.
    pub network: Network,
    /// Its Docker health check's word.
    pub health: DockerHealth,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Whether a stop has begun.
    pub stopping: bool,
    /// Whether it is frozen (`docker pause`): the kernel would accept connections that nobody answers.
    pub paused: bool,
}

/// How a container is attached to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A bridge network: an address of its own on that bridge.
    Bridge {
        /// Its address.
        address: Ipv4Addr,
    },
    /// The host's own network; ports as the ECS agent or the image names them.
    Host {
        /// Ports that the container is known to use.
        ports: Arc<[(NonZeroU16, L4)]>,
    },
    /// Anything else; why it cannot be an endpoint, for people.
    Unsupported(Arc<str>),
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge { address } => write!(f, "bridge, {address}"),
            Self::Host { ports } => {
                f.write_str("host")?;
                let known = ports.iter().take(8).map(|(port, l4)| format!("{port}/{l4}")).collect::<Vec<_>>();
                if known.is_empty() { Ok(()) } else { write!(f, ", ports {}", known.join(", ")) }
            }
            Self::Unsupported(why) => f.write_str(why),
        }
    }
}

/// What a container's own Docker health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerHealth {
    /// It has none.
    None,
    /// Not decided yet.
    Starting,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}

/// Who this node is: the settings merged with what the host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Host name.
    pub name: Arc<str>,
    /// The address other nodes reach it at.
    pub address: Ipv4Addr,
    /// Its availability zone.
    pub zone: Option<Arc<str>>,
    /// The OS's version (`/os` `version_id`).
    pub os_version: Option<Arc<str>>,
}

/// How long a container may take over its stop before meshdog no longer believes in it: the container's own stop
/// timeout and this much more.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Publishes the state that a source enters from the one it is in, under the name that it has in status. Says so in the
/// log where the kind of state changes.
fn enter(source: &watch::Sender<Source>, name: &'static str, next: impl FnOnce(&SourceState) -> SourceState) {
    source.send_if_modified(|source| {
        let before = source.clone();
        if source.enter(next(&before.state)) {
            match &source.state {
                SourceState::Down(reason) => warn!(source = name, %reason, "source down"),
                state => info!(source = name, state = state.as_str(), "source"),
            }
        }
        *source != before
    });
}
