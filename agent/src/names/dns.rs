//! The resolver that containers' captured port-53 queries reach: mesh names are answered here, the rest is relayed.
//!
//! Receives a snapshot of the mesh's names and the settings; emits answers, counts, its own [`State`] and, while it
//! answers, renewals of the lease that keeps the capture alive in the kernel. Never decides which names exist, never
//! touches the kernel's tables.
//!
//! `message` (pure) reads queries and makes answers, `forward` asks the servers that `upstream` names, `responder`
//! joins the two under the limits of `bound`, `listen` owns the sockets, `lease` the renewals. hickory-proto reads and
//! writes messages; hickory-server is not used, because its responses cannot carry an upstream's bytes untouched and
//! its listeners start a task for every datagram.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Auto;
use crate::model::{NameServers, Names, VipRanges};

mod bound;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lease;
mod listen;
mod message;
mod metrics;
mod responder;
mod upstream;

pub use lease::{Lease, SelfQuery};
pub(crate) use message::LEASE_NAME;
pub use metrics::Metrics;

/// What the resolver is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, UDP and TCP: [`VipCidr::resolver`](crate::model::VipCidr::resolver). The address need not exist yet.
    pub listen: SocketAddr,
    /// Where queries for other names go; `Auto`: to the servers that the host itself uses.
    pub upstream: Auto<Vec<SocketAddr>>,
    /// The VIP ranges, which are never forwarded to.
    pub vips: VipRanges,
    /// The packet mark (`SO_MARK`) on sockets to upstream servers, by which the capture rule lets them pass.
    /// Needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
}

/// How the resolver is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not listening yet.
    Starting,
    /// The address could not be bound; tried again all the time.
    Failing {
        /// What was to be bound.
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

/// How a query came, and therefore how it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// Serves until dropped: binds (and tries again until that works), answers, and renews `lease` while answers really
/// come and others' names have somewhere to go. `names` is `None` until the mesh's first snapshot; until then
/// everything is relayed and nothing is leased. `host` says which name servers the host itself uses.
pub async fn run<L: Lease>(
    config: Config,
    mut names: watch::Receiver<Option<Names>>,
    lease: L,
    metrics: Metrics,
    state: watch::Sender<State>,
    host: watch::Receiver<NameServers>,
) {
    let forwarder = forward::Forwarder::new(upstream::servers(&config, host), config.mark);
    let responder = Arc::new(responder::Responder::new(names.clone(), forwarder, metrics));
    let (sockets, address) = listen::bind(config.listen, &state).await;
    let renew = async {
        if names.wait_for(Option::is_some).await.is_ok() {
            lease::keep(SelfQuery::new(address, config.mark), lease, &state).await;
        }
    };
    tokio::join!(listen::udp(sockets.udp, &responder), listen::tcp(sockets.tcp, &responder), renew);
}

#[cfg(test)]
mod tests;
