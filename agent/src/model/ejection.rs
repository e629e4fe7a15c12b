//! Endpoints that are avoided because connections to them failed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;
use tokio::time::Instant;

use super::service::L4;

/// The transport and address of an endpoint, as connections see it. There are as many as endpoints, so it takes no more
/// room than it must: a [`SocketAddr`] has twelve bytes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The transport.
    pub l4: L4,
    ip: IpAddr,
    port: u16,
}

impl Target {
    /// What connections over this transport to this address go to.
    #[must_use]
    pub fn new(l4: L4, address: SocketAddr) -> Self {
        Self { l4, ip: address.ip(), port: address.port() }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// An endpoint that is to be avoided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Until when.
    pub until: Instant,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Whether connects of the agent's own failed too. Else it is what clients say, and clients may err or lie.
    pub proven: bool,
}

/// Everyone who is to be avoided.
pub type Ejections = OrdMap<Target, Ejection>;
