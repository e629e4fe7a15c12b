//! How the resolver is doing, for status and metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{Clients, IfName, QueryPath};

/// How the resolver is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverState {
    /// Not run on this node (`dns.capture`).
    Off,
    /// Not listening yet.
    Starting,
    /// The address could not be bound; tried again all the time.
    Failing {
        /// What was to be bound.
        listen: SocketAddr,
        /// What the kernel said.
        error: Arc<str>,
    },
    /// Listening; whether containers' queries come here is the lease's matter.
    Listening {
        /// The address, UDP and TCP.
        address: SocketAddr,
        /// By which ways clients' queries come here; none while that is not known.
        paths: Option<PathStates>,
    },
}

/// Each way that clients' queries may come, and what is in its way, for people; nothing: they come here.
pub type PathStates = OrdMap<QueryPath, Option<Arc<str>>>;

impl ResolverState {
    /// The state's word in status.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Failing { .. } => "failing",
            Self::Listening { .. } if self.is_answering() => "answering",
            Self::Listening { paths: Some(paths), .. } if paths.values().any(Option::is_none) => "answering in part",
            Self::Listening { .. } => "listening",
        }
    }

    /// Why it fails, for people, where it does.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Failing { listen, error } => Some(format!("cannot listen on {listen}: {error}")),
            Self::Listening { paths: Some(paths), .. } => {
                let blocked = paths.iter().filter_map(|(path, why)| Some(format!("from {path}: {}", why.as_ref()?)));
                let blocked: Vec<String> = blocked.collect();
                (!blocked.is_empty()).then(|| format!("queries do not come here {}", blocked.join("; ")))
            }
            Self::Off | Self::Starting | Self::Listening { paths: None, .. } => None,
        }
    }

    /// By which ways clients' queries come, where that is known.
    #[must_use]
    pub fn paths(&self) -> Option<&PathStates> {
        match self {
            Self::Listening { paths, .. } => paths.as_ref(),
            Self::Off | Self::Starting | Self::Failing { .. } => None,
        }
    }

    /// Whether all clients' queries are captured and answered.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        self.paths().is_some_and(|paths| paths.values().all(Option::is_none))
    }

    /// Whether the queries of the clients on a bridge are.
    #[must_use]
    pub fn answers(&self, bridge: &IfName) -> bool {
        let of = |path: &QueryPath| path.from == Clients::Bridge(bridge.clone());
        let mut states = self.paths().into_iter().flatten().filter(|(path, _)| of(path)).peekable();
        states.peek().is_some() && states.all(|(_, why)| why.is_none())
    }
}
