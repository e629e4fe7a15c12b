//! One `address:port` of a task behind a service, and the map of them that travels down the road.

use std::fmt;
use std::net::SocketAddrV4;
use std::num::NonZeroU16;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;

use super::{Alias, AppProtocol, L4, ServiceId, Weight};

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
pub enum State {
    /// Runs, but has not been healthy yet: takes no connections.
    Starting,
    /// Takes its share.
    Healthy,
    /// Was healthy and is not: takes connections only when no endpoint of the service is healthy.
    Unhealthy,
    /// Connections to it failed: avoided for a while.
    Ejected,
    /// Its stop, or its node's, has begun: takes no new connection, keeps those it has. Also one that is held back
    /// ([`Endpoint::last_resort`]).
    Draining,
}

impl State {
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
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
    pub address: SocketAddrV4,
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
    pub state: State,
    /// Whether it takes connections although it drains, while no endpoint of its service is healthy: it is healthy
    /// itself, and held back. Means nothing in any other state.
    pub last_resort: bool,
    /// Why it stands there, for people.
    pub reason: Arc<str>,
}

impl Endpoint {
    /// Its place in [`Endpoints`].
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        (self.service.clone(), self.id.clone())
    }
}
