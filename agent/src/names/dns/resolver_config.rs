//! What the resolver is told at start, and what it follows.

use std::net::SocketAddr;

use tokio::sync::watch;

use super::zones::Zones;
use crate::config::Auto;
use crate::dataplane::vantages::Vantages;
use crate::model::{CapturedServers, Containers};
use crate::names::served::Served;

/// What the resolver is told at start.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// The first of the addresses to listen on, UDP and TCP: [`VipCidr::resolver`](crate::model::VipCidr::resolver) and
    /// [`RESOLVER_PORT`](crate::model::RESOLVER_PORT); each captured server has the next port. The address need not
    /// exist yet. With port 0 the kernel picks every port.
    pub listen: SocketAddr,
    /// Whether the host's own queries are answered, too.
    pub host: bool,
    /// Where the host's own queries for other names go; `Auto`: where they were sent.
    pub upstream: Auto<Vec<SocketAddr>>,
    /// Which names are the mesh's.
    pub zones: Zones,
    /// The packet mark (`SO_MARK`) on sockets to name servers, by which the capture rule lets them pass.
    /// Needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
}

/// What the resolver follows.
#[derive(Debug, Clone)]
pub struct ResolverInputs {
    /// What may be told; `None` before the mesh's first snapshot.
    pub served: watch::Receiver<Option<Served>>,
    /// The name servers whose queries come here.
    pub servers: watch::Receiver<CapturedServers>,
    /// Who may ask, by the addresses of containers.
    pub containers: watch::Receiver<Option<Containers>>,
    /// Where to ask from as containers do; none while the agent has no such place.
    pub vantages: watch::Receiver<Option<Vantages>>,
}
