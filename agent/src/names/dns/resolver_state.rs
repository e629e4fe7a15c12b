//! How the resolver is doing, for status and metrics.

use std::net::SocketAddr;
use std::sync::Arc;

/// How the resolver is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverState {
    /// Not run on this node (`dns.capture`).
    Off,
    /// Not listening yet.
    Starting,
    /// The address could not be limit; tried again all the time.
    Failing {
        /// What was to be limit.
        listen: SocketAddr,
        /// What the kernel said.
        error: Arc<str>,
    },
    /// Listening; whether containers' queries come here is the lease's matter.
    Listening {
        /// The address, UDP and TCP.
        address: SocketAddr,
        /// Whether the lease on the capture of containers' queries was renewed at the last attempt.
        leased: bool,
    },
}

impl ResolverState {
    /// The state's word in status.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Failing { .. } => "failing",
            Self::Listening { leased: false, .. } => "listening",
            Self::Listening { leased: true, .. } => "answering",
        }
    }

    /// Why it fails, for people, where it does.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Failing { listen, error } => Some(format!("cannot listen on {listen}: {error}")),
            Self::Off | Self::Starting | Self::Listening { .. } => None,
        }
    }

    /// Whether containers' queries are captured and answered.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        matches!(self, Self::Listening { leased: true, .. })
    }
}
