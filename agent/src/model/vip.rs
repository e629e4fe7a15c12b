//! The ranges that VIPs are taken from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address::Family;
use super::net::DNS_PORT;
use super::ruleset::{Frontend, Slots};
use super::service::L4;

/// Why a range cannot hold VIPs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VipCidrError {
    /// Not a CIDR of IPv4.
    #[error("{0:?} is not an IPv4 range; write ADDRESS/BITS, such as 240.240.0.0/16")]
    SyntaxV4(String),
    /// Not a CIDR of IPv6.
    #[error("{0:?} is not an IPv6 range; write ADDRESS/BITS, such as fd6d:6573:6864::/108")]
    SyntaxV6(String),
    /// Too small or too large.
    #[error("{0} is not usable as a VIP range; take between /{1} and /{2}")]
    Size(IpNet, u8, u8),
    /// Loopback, multicast, unspecified or link-local.
    #[error("{0} cannot leave a container (loopback, link-local, multicast or reserved); take {1}")]
    Unroutable(IpNet, &'static str),
}

/// A range that VIPs of one family are taken from. Never in 127/8: the `local` route table would keep such packets in
/// the container's own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipCidr(IpNet);

impl VipCidr {
    /// Reads a range of IPv4 addresses.
    ///
    /// # Errors
    /// Where it is none, or cannot hold VIPs.
    pub fn parse_v4(text: &str) -> Result<Self, VipCidrError> {
        let net: Ipv4Net = text.parse().map_err(|_| VipCidrError::SyntaxV4(text.to_owned()))?;
        let unroutable = |a: Ipv4Addr| {
            a.is_loopback() || a.is_link_local() || a.octets()[0] == 0 || a.is_multicast() || a.is_broadcast()
        };
        let strays = unroutable(net.network()) || unroutable(net.broadcast());
        Self::checked(net.into(), 8..=28, strays, "for instance 240.240.0.0/16")
    }

    /// Reads a range of IPv6 addresses.
    ///
    /// # Errors
    /// Where it is none, or cannot hold VIPs.
    pub fn parse_v6(text: &str) -> Result<Self, VipCidrError> {
        let net: Ipv6Net = text.parse().map_err(|_| VipCidrError::SyntaxV6(text.to_owned()))?;
        let first = net.network();
        let strays =
            first.is_loopback() || first.is_unspecified() || first.is_multicast() || first.is_unicast_link_local();
        Self::checked(net.into(), 48..=120, strays, "one of fd00::/8")
    }

    fn checked(
        net: IpNet,
        sizes: std::ops::RangeInclusive<u8>,
        strays: bool,
        advice: &'static str,
    ) -> Result<Self, VipCidrError> {
        let net = net.trunc();
        if !sizes.contains(&net.prefix_len()) {
            return Err(VipCidrError::Size(net, *sizes.start(), *sizes.end()));
        }
        if strays {
            return Err(VipCidrError::Unroutable(net, advice));
        }
        Ok(Self(net))
    }

    /// What the default was before `240.240.0.0/16`.
    #[must_use]
    pub fn former_default() -> Self {
        const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 0, 0), 16);
        Self(IpNet::V4(RANGE))
    }

    /// The range itself, host bits cleared.
    #[must_use]
    pub fn net(self) -> IpNet {
        self.0
    }

    /// Its addresses' family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.0.network())
    }

    /// Whether an address lies within the range, VIP or not.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The address on which the agent answers DNS: the first of the range after the network's own.
    #[must_use]
    pub fn resolver(self) -> IpAddr {
        self.offset(1)
    }

    /// How many VIPs fit: all but the network's address, the resolver and the broadcast address; no more than a 32-bit
    /// number counts.
    #[must_use]
    pub fn capacity(self) -> u32 {
        let host_bits = u32::from(self.family().bits() - self.0.prefix_len());
        let addresses = 1u64.checked_shl(host_bits).unwrap_or(u64::MAX);
        u32::try_from(addresses - 3).unwrap_or(u32::MAX)
    }

    /// How many of these may be given to services.
    #[must_use]
    pub fn available(self) -> u32 {
        let host_bits = u32::from(self.family().bits() - self.reserved().prefix_len());
        // All but the range's last, which is not counted among VIPs.
        self.capacity().saturating_sub((1 << host_bits) - 1)
    }

    /// The VIP with this index, counted from zero and taken modulo [`Self::capacity`].
    #[must_use]
    pub fn nth(self, index: u32) -> IpAddr {
        self.offset(2 + u64::from(index % self.capacity()))
    }

    /// Whether an address may be a VIP of this range.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        let index = match (address, self.0) {
            (IpAddr::V4(address), IpNet::V4(net)) => {
                u128::from(u32::from(address)).checked_sub(u32::from(net.network()).into())
            }
            (IpAddr::V6(address), IpNet::V6(net)) => u128::from(address).checked_sub(net.network().into()),
            (IpAddr::V4(_), IpNet::V6(_)) | (IpAddr::V6(_), IpNet::V4(_)) => None,
        };
        index.is_some_and(|index| (2..2 + u128::from(self.capacity())).contains(&index))
    }

    /// The end of the range, which services are given no VIP of: addresses of vantages and the VIPs that lead to them.
    #[must_use]
    pub fn reserved(self) -> IpNet {
        let (net, bits) = (self.0, self.family().bits());
        // A sixteenth of a small range, 64 addresses of others.
        let length = bits.saturating_sub(6).max(net.prefix_len() + 4).min(bits - 2);
        let last = net.broadcast();
        IpNet::new(last, length).map_or(net, |net| net.trunc())
    }

    /// The vantages that there may be, in order: addresses are of the first half of [`Self::reserved`], VIPs of the
    /// other, and the last of each is left out, since the range's last is a broadcast address.
    pub fn vantages(self) -> impl Iterator<Item = Vantage> {
        let reserved = Self(self.reserved());
        let half = 1_u64 << (self.family().bits() - reserved.0.prefix_len() - 1);
        (0..half - 1).map(move |n| Vantage { address: reserved.offset(n), vip: reserved.offset(half + n) })
    }

    fn offset(self, by: u64) -> IpAddr {
        match self.0 {
            // Within the range, whose size fits the address.
            IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()).wrapping_add(by as u32)).into(),
            IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + u128::from(by)).into(),
        }
    }
}

impl Default for VipCidr {
    /// `240.240.0.0/16`: reserved for future use (RFC 1112), so that no VPC can hold it.
    fn default() -> Self {
        const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(240, 240, 0, 0), 16);
        Self(IpNet::V4(RANGE))
    }
}

impl FromStr for VipCidr {
    type Err = VipCidrError;

    /// Reads a range of either family: IPv6 where there is a colon.
    fn from_str(text: &str) -> Result<Self, VipCidrError> {
        if text.contains(':') { Self::parse_v6(text) } else { Self::parse_v4(text) }
    }
}

impl fmt::Display for VipCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place on a bridge from which the agent tries what the clients there do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vantage {
    /// Its address.
    pub address: IpAddr,
    /// The VIP that leads to it, as a service's leads to an endpoint.
    pub vip: IpAddr,
}

impl Vantage {
    /// What is dialled to reach it, and where that leads. Nothing listens there: a connection that arrives is refused by
    /// the vantage. The port of DNS, since rules that must see every packet look at that first.
    #[must_use]
    pub fn frontend(self) -> (Frontend, Slots) {
        const PORT: NonZeroU16 = NonZeroU16::new(DNS_PORT).unwrap();
        let frontend = Frontend { vip: self.vip, l4: L4::Tcp, port: PORT };
        (frontend, Arc::new([SocketAddr::new(self.address, DNS_PORT)]))
    }
}

/// The ranges that VIPs are taken from: at most one of each family, and always one of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipRanges {
    v4: VipCidr,
    v6: Option<VipCidr>,
}

impl VipRanges {
    /// The range that IPv6 VIPs come from unless the settings say otherwise: a unique local one (RFC 4193).
    pub const DEFAULT_V6: VipCidr =
        VipCidr(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd6d, 0x6573, 0x6864, 0, 0, 0, 0, 0), 108)));

    /// A range of IPv4, and one of IPv6 where there is one. `None` where a range is of the other family.
    #[must_use]
    pub fn new(v4: VipCidr, v6: Option<VipCidr>) -> Option<Self> {
        let right = v4.family() == Family::V4 && v6.is_none_or(|v6| v6.family() == Family::V6);
        right.then_some(Self { v4, v6 })
    }

    /// The range of IPv4 alone.
    #[must_use]
    pub fn only_v4(self) -> Self {
        Self { v6: None, ..self }
    }

    /// The range of IPv4.
    #[must_use]
    pub fn v4(self) -> VipCidr {
        self.v4
    }

    /// The range of this family.
    #[must_use]
    pub fn get(self, family: Family) -> Option<VipCidr> {
        match family {
            Family::V4 => Some(self.v4),
            Family::V6 => self.v6,
        }
    }

    /// The ranges, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = VipCidr> {
        Family::ALL.into_iter().filter_map(move |family| self.get(family))
    }

    /// The range that an address lies within, VIP or not.
    #[must_use]
    pub fn range_of(self, address: IpAddr) -> Option<VipCidr> {
        self.iter().find(|range| range.contains(address))
    }

    /// Whether an address lies within one of the ranges, VIP or not.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.range_of(address).is_some()
    }
}

impl Default for VipRanges {
    fn default() -> Self {
        Self { v4: VipCidr::default(), v6: Some(Self::DEFAULT_V6) }
    }
}

#[cfg(test)]
mod tests;
