//! Addresses: the VIP range, interface names, the port of DNS.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::Ipv4Net;

/// Why a range cannot hold VIPs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VipCidrError {
    /// Not a CIDR.
    #[error("{0:?} is not an IPv4 range; write ADDRESS/BITS, such as 198.19.0.0/16")]
    Syntax(String),
    /// Too small or too large.
    #[error("{0} is not usable as a VIP range; take between /8 and /28")]
    Size(Ipv4Net),
    /// Loopback, multicast, unspecified or link-local.
    #[error(
        "{0} cannot leave a container (loopback, link-local, multicast or reserved); take for instance 198.19.0.0/16"
    )]
    Unroutable(Ipv4Net),
}

/// The range that VIPs are taken from. Never in 127/8: the `local` route table would keep such packets in the
/// container's own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipCidr(Ipv4Net);

impl VipCidr {
    /// The range itself, host bits cleared.
    #[must_use]
    pub fn net(self) -> Ipv4Net {
        self.0
    }

    /// The address on which the agent answers DNS: the first of the range after the network's own.
    #[must_use]
    pub fn resolver(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + 1)
    }

    /// How many VIPs fit: all but the network's address, the resolver and the broadcast address.
    #[must_use]
    pub fn capacity(self) -> u32 {
        (1u32 << (32 - self.0.prefix_len())) - 3
    }

    /// The VIP with this index, counted from zero and taken modulo [`Self::capacity`].
    #[must_use]
    pub fn nth(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + 2 + index % self.capacity())
    }

    /// Whether an address may be a VIP of this range.
    #[must_use]
    pub fn holds(self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
            && (2..2 + self.capacity()).contains(&(u32::from(address) - u32::from(self.0.network())))
    }
}

impl Default for VipCidr {
    /// `198.19.0.0/16`: half of the range for benchmarks (RFC 2544), which no network routes.
    fn default() -> Self {
        const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 0, 0), 16);
        Self(RANGE)
    }
}

impl FromStr for VipCidr {
    type Err = VipCidrError;

    fn from_str(text: &str) -> Result<Self, VipCidrError> {
        let net: Ipv4Net = text.parse().map_err(|_| VipCidrError::Syntax(text.to_owned()))?;
        let net = net.trunc();
        if !(8..=28).contains(&net.prefix_len()) {
            return Err(VipCidrError::Size(net));
        }
        let (first, last) = (net.network(), net.broadcast());
        let unroutable =
            |a: Ipv4Addr| a.is_loopback() || a.is_link_local() || a.octets()[0] == 0 || a.octets()[0] >= 224;
        if unroutable(first) || unroutable(last) {
            return Err(VipCidrError::Unroutable(net));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for VipCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where name servers listen, TCP and UDP (RFC 1035 4.2).
pub const DNS_PORT: u16 = 53;

/// Name servers in the order they are tried.
pub type NameServers = Arc<[SocketAddr]>;

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
