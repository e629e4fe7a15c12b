//! What the kernel is to hold so that clients reach services.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::{IfName, L4};

/// The most slots one service may take. Only thousands of endpoints of very unequal weights come near it.
pub const MAX_SLOTS: u32 = 1 << 16;

/// What a client dials: a VIP, a transport, a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The virtual address.
    pub vip: Ipv4Addr,
    /// The transport.
    pub l4: L4,
    /// The port.
    pub port: NonZeroU16,
}

/// Which endpoint takes which slot; a connection takes one slot at random. Never empty.
pub type Slots = Arc<[SocketAddrV4]>;

/// Everything the kernel is to hold. Two of these, desired and applied, make a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Frontends that have someone to serve them. Any other address of the VIP range refuses.
    pub frontends: OrdMap<Frontend, Slots>,
    /// Addresses of this node's bridge endpoints, where a container may dial a VIP that lands on itself.
    pub locals: OrdSet<Ipv4Addr>,
    /// Interfaces that clients' packets come from: Docker's bridges.
    pub bridges: OrdSet<IfName>,
    /// Name servers whose queries from the host's own processes and host-network containers are answered here.
    pub resolvers: OrdSet<Ipv4Addr>,
}
