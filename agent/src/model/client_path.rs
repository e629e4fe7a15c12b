//! The ways by which clients' queries and connections come, as far as something may be in the way of one and not of
//! another.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;

use super::net::IfName;
use super::service::L4;

/// Where clients are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clients {
    /// Containers on this bridge.
    Bridge(IfName),
    /// The host's own processes.
    Host,
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(name) => name.fmt(f),
            Self::Host => f.write_str("the host"),
        }
    }
}

/// The way of clients' DNS queries to the agent: each has a lease of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryPath {
    /// Whose queries.
    pub from: Clients,
    /// By which transport.
    pub l4: L4,
}

impl fmt::Display for QueryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.from, self.l4)
    }
}

/// Which bridges' clients cannot connect to containers of which bridge (maybe their own), and what is in the way, for
/// people. Pairs that are not in it are open, or not tried yet.
pub type ClosedRoads = OrdMap<(IfName, IfName), Arc<str>>;
