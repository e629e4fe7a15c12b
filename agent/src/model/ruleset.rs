//! What the kernel is to hold so that clients reach services.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::address::Family;
use super::net::IfName;
use super::service::L4;
use super::vip::Vantage;

/// The most slots one service may take. Only thousands of endpoints of very unequal weights come near it.
pub const MAX_SLOTS: u32 = 1 << 16;

/// What a client dials: a VIP, a transport, a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The virtual address. Endpoints are of its family: the kernel translates from one address to another, not from
    /// one protocol to another.
    pub vip: IpAddr,
    /// The transport.
    pub l4: L4,
    /// The port.
    pub port: NonZeroU16,
}

impl Frontend {
    /// The family of its VIP, and of whoever serves it.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.vip)
    }

    /// What clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.vip, self.port.get())
    }
}

/// Which endpoint takes which slot; a connection takes one slot at random. Never empty.
pub type Slots = Arc<[SocketAddr]>;

/// A kind of client: what it may use of an endpoint depends on where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// Clients of this node's bridges and of the host itself: what runs here by its local address, the rest by the
    /// published one.
    Node,
    /// Clients with a network interface of their own: everything by its published address.
    Elsewhere,
}

impl View {
    /// The view in a few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A ruleset for each view that has clients.
pub type Rulesets = BTreeMap<View, Arc<Ruleset>>;

/// Everything the kernel is to hold for the clients of one view. Two of these, desired and applied, make a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Frontends that have someone to serve them. Any other address of the VIP range refuses.
    pub frontends: OrdMap<Frontend, Slots>,
    /// Addresses of this node's bridge endpoints, where a container may dial a VIP that lands on itself.
    pub locals: OrdSet<IpAddr>,
    /// Interfaces that clients' packets come from: Docker's bridges.
    pub bridges: OrdSet<IfName>,
    /// Name servers whose queries from containers are answered here, and the resolver's port for each.
    pub resolvers: OrdMap<IpAddr, u16>,
    /// The same for queries of the host's own processes and host-network containers.
    pub host_resolvers: OrdMap<IpAddr, u16>,
    /// Addresses of containers that have name servers of their own: none of their queries is captured.
    pub uncaptured: OrdSet<IpAddr>,
    /// Bridges, and the vantage that the agent is to have on each.
    pub vantages: OrdMap<IfName, Vantage>,
    /// Pairs of bridges between which something drops connections (of the first one's clients to the other's
    /// containers): they are refused at once.
    pub closed: OrdSet<(IfName, IfName)>,
    /// UDP endpoints that have left the slots, or are about to, and still answer: their flows stay with them. Nothing
    /// that the kernel's tables hold; whoever cleans conntrack goes by it.
    pub draining: OrdSet<SocketAddr>,
}
