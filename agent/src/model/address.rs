//! Addresses of either family, and where a value has one of each.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which a client with a choice is served.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// An address's family.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// How many bits its addresses have.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address that stands for all or none of a host's own.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address in network order: 4 or 16 bytes.
#[must_use]
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address of one family, or one of each. Written as one address, or as a list of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DualStack {
    /// IPv4 alone.
    V4(Ipv4Addr),
    /// IPv6 alone.
    V6(Ipv6Addr),
    /// Both.
    Both(Ipv4Addr, Ipv6Addr),
}

impl DualStack {
    /// The address of this family.
    #[must_use]
    pub fn get(self, family: Family) -> Option<IpAddr> {
        match (family, self) {
            (Family::V4, Self::V4(address) | Self::Both(address, _)) => Some(address.into()),
            (Family::V6, Self::V6(address) | Self::Both(_, address)) => Some(address.into()),
            (Family::V4, Self::V6(_)) | (Family::V6, Self::V4(_)) => None,
        }
    }

    /// Its addresses, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        Family::ALL.into_iter().filter_map(move |family| self.get(family))
    }

    /// The address to name where there is room for one: the IPv4 address, if there is one.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(address) | Self::Both(address, _) => address.into(),
            Self::V6(address) => address.into(),
        }
    }

    /// The first address of each family; `None` where there is none at all.
    pub fn collect(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let (mut v4, mut v6) = (None, None);
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4 = v4.or(Some(address)),
                IpAddr::V6(address) => v6 = v6.or(Some(address)),
            }
        }
        match (v4, v6) {
            (Some(v4), Some(v6)) => Some(Self::Both(v4, v6)),
            (Some(v4), None) => Some(Self::V4(v4)),
            (None, Some(v6)) => Some(Self::V6(v6)),
            (None, None) => None,
        }
    }
}

impl From<IpAddr> for DualStack {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for DualStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Both(v4, v6) => write!(f, "{v4}, {v6}"),
        }
    }
}

/// One port at an address of one family, or at one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketAddrs {
    /// The addresses.
    pub ip: DualStack,
    /// The port.
    pub port: NonZeroU16,
}

impl SocketAddrs {
    /// The socket address of this family.
    #[must_use]
    pub fn get(self, family: Family) -> Option<SocketAddr> {
        self.ip.get(family).map(|ip| SocketAddr::new(ip, self.port.get()))
    }

    /// The socket addresses, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> {
        self.ip.iter().map(move |ip| SocketAddr::new(ip, self.port.get()))
    }

    /// The socket address to name where there is room for one.
    #[must_use]
    pub fn first(self) -> SocketAddr {
        SocketAddr::new(self.ip.first(), self.port.get())
    }
}

impl TryFrom<SocketAddr> for SocketAddrs {
    type Error = std::num::TryFromIntError;

    /// # Errors
    /// Port 0, at which nobody listens.
    fn try_from(address: SocketAddr) -> Result<Self, Self::Error> {
        Ok(Self { ip: address.ip().into(), port: address.port().try_into()? })
    }
}

#[cfg(test)]
mod tests;
