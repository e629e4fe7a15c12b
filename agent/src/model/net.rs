//! Interface names, name servers, the port of DNS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;

/// Where name servers listen, TCP and UDP (RFC 1035 4.2).
pub const DNS_PORT: u16 = 53;

/// Name servers in the order they are tried.
pub type NameServers = Arc<[SocketAddr]>;

/// The first of the ports on which the agent's resolver listens, TCP and UDP; its address is
/// [`VipCidr::resolver`](super::VipCidr::resolver). Each captured name server has a port of its own, by which the
/// resolver knows who was asked: first those of containers' queries, then those of the host's.
pub const RESOLVER_PORT: u16 = 15053;

/// The most name servers whose queries are captured from containers; as many again from the host's own processes.
pub const MAX_CAPTURED: u16 = 8;

/// The name servers whose queries are captured, each at a place that it keeps: one that was a default server once still
/// is in the containers of that time. At most [`MAX_CAPTURED`] each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapturedServers {
    /// Those that Docker gives containers by default.
    pub containers: NameServers,
    /// Those that the host's own processes ask; none unless they are answered here.
    pub host: NameServers,
}

impl CapturedServers {
    /// The resolver's port for the queries that containers send to each server.
    #[must_use]
    pub fn ports_of_containers(&self) -> OrdMap<IpAddr, u16> {
        ports(&self.containers, RESOLVER_PORT)
    }

    /// The same for the host's own processes.
    #[must_use]
    pub fn ports_of_host(&self) -> OrdMap<IpAddr, u16> {
        ports(&self.host, RESOLVER_PORT + MAX_CAPTURED)
    }
}

fn ports(servers: &NameServers, first: u16) -> OrdMap<IpAddr, u16> {
    servers.iter().map(SocketAddr::ip).zip(first..first + MAX_CAPTURED).collect()
}

/// The places of name servers when `listed` are to be captured: whoever has a place keeps it, and gives it up only where
/// no other is free. Who then finds none is left out.
#[must_use]
pub fn places(before: &NameServers, listed: &[SocketAddr]) -> NameServers {
    let mut places = before.to_vec();
    for server in listed {
        if places.contains(server) {
            continue;
        }
        if places.len() < usize::from(MAX_CAPTURED) {
            places.push(*server);
        } else if let Some(stale) = places.iter_mut().find(|kept| !listed.contains(kept)) {
            *stale = *server;
        }
    }
    places.into()
}

/// Longest interface name, in bytes (`IFNAMSIZ` less the final zero, linux/if.h).
pub const MAX_IFNAME: usize = 15;

/// A network interface's name: 1 to [`MAX_IFNAME`] bytes, no `/`, no white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(Arc<str>);

impl IfName {
    /// The name, or `None` where the text cannot be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_IFNAME && text != "." && text != "..";
        let clean = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        (fits && clean).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
