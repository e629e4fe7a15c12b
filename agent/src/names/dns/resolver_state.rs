//! How the resolver is doing, for people.

use std::net::SocketAddr;
use std::sync::Arc;

/// How the resolver is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverState {
    /// Not listening yet.
    Starting,
    /// The address could not be limit; tried again all the time.
    Failing {
        /// What was to be limit.
        listen: SocketAddr,
        /// What the kernel said.
        error: Arc<str>,
    },
    /// Answering.
    Listening {
        /// The address, UDP and TCP.
        address: SocketAddr,
        /// Whether the lease on the capture of containers' queries was renewed at the last attempt.
        leased: bool,
    },
}
