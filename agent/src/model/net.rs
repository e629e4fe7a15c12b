//! Interface names, name servers, the port of DNS.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

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
