//! One `address:port` of a task behind a service, and the map of them that travels down the road.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;

use super::address::{Family, SocketAddrs};
use super::ejection::Target;
use super::name::{Alias, ServiceId};
use super::ruleset::View;
use super::service::{AppProtocol, L4, Weight};

/// What an endpoint is called within its service: `<first 12 characters of the container id>:<port>/<tcp|udp>`.
/// At most 64 characters of `[0-9a-zA-Z_/:.@-]`, so that it serves as a Cloud Map instance id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// The id of a container's port.
    #[must_use]
    pub fn new(container: &str, port: NonZeroU16, l4: L4) -> Self {
        let container: String = container.chars().take(12).collect();
        Self(format!("{container}:{port}/{l4}").into())
    }

    /// Sorts before every id of the same service: the lower bound of a range over one service's endpoints. Allocates
    /// nothing.
    #[must_use]
    pub fn first() -> Self {
        Self(Arc::default())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An endpoint's place in [`Endpoints`]: all of one service stand together.
pub type EndpointKey = (ServiceId, EndpointId);

/// Endpoints of any number of services. A persistent map: a snapshot costs a pointer, and two snapshots are
/// compared in time proportional to what differs.
pub type Endpoints = OrdMap<EndpointKey, Arc<Endpoint>>;

/// The endpoints of one service, in the order of their ids.
pub fn of_service<'a>(endpoints: &'a Endpoints, service: &ServiceId) -> impl Iterator<Item = &'a Arc<Endpoint>> {
    let service = service.clone();
    endpoints
        .range((service.clone(), EndpointId::first())..)
        .take_while(move |((id, _), _)| *id == service)
        .map(|(_, endpoint)| endpoint)
}

/// Where an endpoint stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Runs, but has not been healthy yet: takes no connections.
    Starting,
    /// Takes its share.
    Healthy,
    /// Was healthy and is not: takes connections only when no endpoint of the service is healthy.
    Unhealthy,
    /// Connections to it failed: avoided for a while.
    Ejected,
    /// Its stop, or its node's, has begun: keeps the connections that it has, and takes new ones only as a last resort
    /// ([`Endpoint::last_resort`]).
    Draining,
}

impl EndpointState {
    /// Every state, in the order of the metric's documentation.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Healthy, Self::Unhealthy, Self::Ejected, Self::Draining];

    /// The state's word in status and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which of a node's networks an endpoint's local address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalNetwork {
    /// A bridge of this node: the address is the endpoint's own.
    Bridge,
    /// The host's own network: the address is the node's.
    Host,
}

/// Where an endpoint is reached. It has a local address where it runs on this very node, and a published one for
/// everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointAddresses {
    /// It runs on this node.
    Own {
        /// The network that its local address belongs to.
        network: LocalNetwork,
        /// Its address there.
        local: SocketAddrs,
        /// Where the rest of the world reaches it; `None` where nobody does.
        published: Option<SocketAddrs>,
    },
    /// It runs on another node, which published this.
    Remote {
        /// Where everybody but its own node reaches it.
        published: SocketAddrs,
    },
}

impl EndpointAddresses {
    /// Where clients of a view reach it; `None` where they do not.
    #[must_use]
    pub fn seen_from(&self, view: View) -> Option<SocketAddrs> {
        match (view, *self) {
            (View::Node, Self::Own { local, .. }) => Some(local),
            (View::Node | View::Elsewhere, Self::Remote { published }) => Some(published),
            (View::Elsewhere, Self::Own { published, .. }) => published,
        }
    }

    /// Its local addresses; none where it runs elsewhere.
    pub fn local(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let local = match *self {
            Self::Own { local, .. } => Some(local),
            Self::Remote { .. } => None,
        };
        local.into_iter().flat_map(SocketAddrs::iter)
    }

    /// Its published addresses; none where it has not published any.
    #[must_use]
    pub fn published(&self) -> Option<SocketAddrs> {
        self.seen_from(View::Elsewhere)
    }

    /// All of its addresses, local ones first.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        self.local().chain(self.published().into_iter().flat_map(SocketAddrs::iter))
    }

    /// Whether it has an address of this family, for whichever view.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        self.iter().any(|address| Family::of(address.ip()) == family)
    }

    /// The address that clients of this node use, IPv4 if there is a choice: the one to probe, and to show to people.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        match *self {
            Self::Own { local, .. } => local.first(),
            Self::Remote { published } => published.first(),
        }
    }
}

/// One endpoint with everything that balancing, naming and explaining it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The service it stands behind.
    pub service: ServiceId,
    /// Its id within that service.
    pub id: EndpointId,
    /// Where connections go.
    pub addresses: EndpointAddresses,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// What clients may dial to reach it. Never empty.
    pub aliases: Arc<[Alias]>,
    /// Its part of the connections.
    pub weight: Weight,
    /// The node it runs on.
    pub node: Arc<str>,
    /// That node's availability zone.
    pub zone: Option<Arc<str>>,
    /// The ECS task (its ARN) or the lone container (its name).
    pub task: Arc<str>,
    /// The container's full id.
    pub container: Arc<str>,
    /// When its container started, in milliseconds since the Unix epoch. The older of two claimants keeps an alias.
    pub started_ms: u64,
    /// Where it stands.
    pub state: EndpointState,
    /// Whether it takes connections although it drains, while no endpoint of its service is healthy: it still answers,
    /// as far as anybody knows. Its UDP flows stay with it. Means nothing in any other state.
    pub last_resort: bool,
    /// Why it stands there, for people.
    pub reason: Arc<str>,
}

impl Endpoint {
    /// Its addresses as connections see them.
    pub fn targets(&self) -> impl Iterator<Item = Target> + use<> {
        let l4 = self.protocol.l4();
        self.addresses.iter().map(move |address| Target::new(l4, address))
    }

    /// Its place in [`Endpoints`].
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        (self.service.clone(), self.id.clone())
    }
}

#[cfg(test)]
impl EndpointAddresses {
    /// Of an endpoint on a bridge of this node that is published nowhere.
    pub(crate) fn on_bridge(local: &str) -> Self {
        Self::Own { network: LocalNetwork::Bridge, local: at(local), published: None }
    }

    /// Of an endpoint on another node.
    pub(crate) fn remote(published: &str) -> Self {
        Self::Remote { published: at(published) }
    }
}

#[cfg(test)]
fn at(text: &str) -> SocketAddrs {
    text.parse::<SocketAddr>().unwrap().try_into().unwrap()
}
