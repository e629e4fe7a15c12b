//! Who asks, as far as it decides what is answered and whose share is used.

use std::net::IpAddr;

/// Whose queries a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Containers'.
    Container,
    /// Those of the host's own processes: answered are names in the mesh's namespaces alone.
    Host,
}

/// A listener: whose queries to which captured name server it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) asker: Asker,
    /// Which of the captured name servers was asked.
    pub(super) index: usize,
}

/// Who has a share of what may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A container that Docker says has this address; or the agent itself.
    Known(IpAddr),
    /// The host's own processes, all together.
    Host,
    /// Whoever is neither, all together: containers that Docker has not told of yet, and forged addresses.
    Unknown,
}
