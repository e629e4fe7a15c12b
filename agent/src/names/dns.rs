//! The resolver that containers' captured port-53 queries reach: mesh names are answered here, the rest is relayed.
//!
//! Receives a snapshot of the mesh's names and the settings; emits answers, counts, its own [`ResolverState`] and, while
//! it answers, renewals of the lease that keeps the capture alive in the kernel. Never decides which names exist, never
//! touches the kernel's tables.
//!
//! `message` (pure) reads queries and makes answers, `forward` asks the servers that `upstream` names, `responder`
//! joins the two under the limits of `limit`, `listen` owns the sockets, `lease` the renewals. hickory-proto reads and
//! writes messages; hickory-server is not used, because its responses cannot carry an upstream's bytes untouched and
//! its listeners start a task for every datagram.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::{NameServers, Names};

mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lease;
mod limit;
mod listen;
mod message;
mod metrics;
mod resolver_config;
mod resolver_state;
mod responder;
mod transport;
mod upstream;

pub use lease::{Lease, SelfQuery};
pub(crate) use message::LEASE_NAME;
pub use metrics::ResolverMetrics;
pub use resolver_config::ResolverConfig;
pub use resolver_state::ResolverState;

/// How long queries that are under way when the agent stops may still take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until told to stop, and then until the queries that are under way are answered: binds (and tries again until that works), answers, and renews `lease` while answers really
/// come and others' names have somewhere to go. `names` is `None` until the mesh's first snapshot; until then
/// everything is relayed and nothing is leased. `host` says which name servers the host itself uses.
pub async fn run<L: Lease>(
    config: ResolverConfig,
    mut names: watch::Receiver<Option<Names>>,
    lease: L,
    metrics: ResolverMetrics,
    state: watch::Sender<ResolverState>,
    host: watch::Receiver<NameServers>,
    stop: CancellationToken,
) {
    let forwarder = forward::Forwarder::new(upstream::servers(&config, host), config.mark);
    let responder = Arc::new(responder::Responder::new(names.clone(), forwarder, metrics));
    let Some((sockets, address)) = stop.run_until_cancelled(listen::bind(config.listen, &state)).await else { return };
    let renew = async {
        if names.wait_for(Option::is_some).await.is_ok() {
            lease::keep(SelfQuery::new(address, config.mark), lease, &state).await;
        }
    };
    let serve =
        async { tokio::join!(listen::udp(sockets.udp, &responder), listen::tcp(sockets.tcp, &responder), renew) };
    let last_answer = async {
        stop.cancelled().await;
        let _ = timeout(LAST_ANSWERS, responder.idle()).await;
    };
    tokio::select! {
        // First: what has come in by the time of the stop is read before it is asked whether anything is under way.
        biased;
        _ = serve => {}
        () = last_answer => {}
    }
}

#[cfg(test)]
mod tests;
