//! A running container, as far as the mesh needs to know it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::address::DualStack;
use super::net::IfName;
use super::past::Past;
use super::service::L4;

/// A container's full id: 64 hexadecimal digits.
pub type ContainerId = Arc<str>;

/// What Docker runs, as one snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Containers {
    /// Running containers (those whose stop has begun included) by id.
    pub running: OrdMap<ContainerId, Arc<Container>>,
    /// Containers that run as far as Docker's list says, and that Docker has not been able to tell more of since the agent
    /// started. What was known of their endpoints stands.
    pub unseen: OrdSet<ContainerId>,
    /// The interfaces of Docker's bridge networks.
    pub bridges: OrdSet<IfName>,
    /// Where Docker keeps its files, as the host sees it; `None` until Docker has said so.
    pub root: Option<Arc<Path>>,
    /// What became lately of containers that ended here, or began; a bounded number of them.
    pub pasts: OrdMap<ContainerId, Arc<Past>>,
    /// How much of the node's budget their labels use.
    pub budget: BudgetUse,
}

/// How much of a node's budget the labels of its containers use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetUse {
    /// Names that they ask for and were given.
    pub names: usize,
    /// The most that they are given.
    pub limit: usize,
    /// Services that are refused for want of room.
    pub refused: usize,
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
    /// Keys of labels of ours that are baked into its image.
    pub baked: Arc<BTreeSet<String>>,
    /// How many of the services of its labels the node's budget has room for, in the order of their names.
    pub admitted: usize,
    /// How it is attached to the network.
    pub network: Network,
    /// The bridges that it is on; the first is the one of the address that [`Network::Bridge`] has.
    pub bridges: Arc<[IfName]>,
    /// All its addresses on bridge networks, sorted: where its queries come from.
    pub addresses: Arc<[IpAddr]>,
    /// Whether it was given name servers of its own (`--dns`), so that Docker did not give it the default ones.
    pub own_dns: bool,
    /// What its `/etc/hosts` is.
    pub hosts: HostsFile,
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
        address: DualStack,
        /// Its ports that are published on the host.
        published: Arc<[PublishedPort]>,
    },
    /// The host's own network; ports as the ECS agent or the image names them.
    Host {
        /// Ports that the container is known to use.
        ports: Arc<[(NonZeroU16, L4)]>,
    },
    /// Anything else; why it cannot be an endpoint, for people.
    Unsupported(Arc<str>),
}

impl Network {
    /// The container's own addresses; none where it has none that is known.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let own = match self {
            Self::Bridge { address, .. } => Some(*address),
            Self::Host { .. } | Self::Unsupported(_) => None,
        };
        own.into_iter().flat_map(DualStack::iter)
    }
}

/// The line before the agent's own lines in a hosts file.
pub const HOSTS_BEGIN: &str = "# meshdog: names of the mesh; do not edit, your own lines above or below win";
/// The line after them.
pub const HOSTS_END: &str = "# meshdog: end";

/// What a container's `/etc/hosts` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostsFile {
    /// The file that Docker keeps for this container: itself, or the one whose network it shares.
    Docker(ContainerId),
    /// The user's: something is mounted there, or the file stands elsewhere than Docker keeps its own.
    Users,
    /// None that Docker tells of.
    None,
}

/// A container's port that Docker has published on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// The container's port.
    pub port: NonZeroU16,
    /// Its transport.
    pub l4: L4,
    /// The host's address that it is published on; `None`: all of them.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: NonZeroU16,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge { address, .. } => write!(f, "bridge, {address}"),
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
