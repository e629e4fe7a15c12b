//! The resolver that containers' captured port-53 queries reach: mesh names are answered here, the rest goes to the server
//! that was asked.
//!
//! Receives what may be told, whose queries are captured, and who may ask; emits answers, counts, its own
//! [`ResolverState`] and, while it answers, renewals of the lease that keeps the capture alive in the kernel. Never
//! decides which names exist, never touches the kernel's tables.
//!
//! `message` (pure) reads queries and makes answers by what `zones` (pure) says of names; `forward` asks name servers by
//! datagram, `conversation` is a TCP connection; `responder` joins them under the shares of `limit`, `strangers`
//! (pure) keeps what comes before Docker has told of its sender, `listen` owns the
//! sockets, `refusal` says by ICMP what a server's kernel would, `lease` has the renewals. hickory-proto reads and writes messages; hickory-server is not used, because its
//! responses cannot carry a server's bytes untouched and its listeners start a task for every datagram.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdSet;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::{Containers, publish};

mod asker;
mod conversation;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lease;
mod limit;
mod listen;
mod message;
mod metrics;
mod refusal;
mod resolver_config;
mod resolver_state;
mod responder;
mod strangers;
mod transport;
mod zones;

pub use lease::{Lease, SelfQuery};
pub(crate) use message::LEASE_NAME;
pub use metrics::ResolverMetrics;
pub use resolver_config::{ResolverConfig, ResolverInputs};
pub use resolver_state::ResolverState;
pub use zones::Zones;

/// How long queries that are under way when the agent stops may still take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until told to stop, and then until the queries that are under way are answered: binds (and tries again until
/// that works), answers, and renews `lease` while answers really come. Until the mesh's first snapshot nothing is leased.
pub async fn run<L: Lease>(
    config: ResolverConfig,
    inputs: ResolverInputs,
    lease: L,
    metrics: ResolverMetrics,
    state: watch::Sender<ResolverState>,
    stop: CancellationToken,
) {
    let (clients_out, clients) = watch::channel(OrdSet::default());
    let containers = inputs.containers.clone();
    let mut served = inputs.served.clone();
    let Some((sockets, address)) = stop.run_until_cancelled(listen::bind(&config, &state)).await else { return };
    let mark = config.mark;
    let responder = Arc::new(responder::Responder::new(config, inputs, clients, metrics));
    let renew = async {
        if served.wait_for(Option::is_some).await.is_ok() {
            lease::keep(SelfQuery::new(address, mark), lease, &state).await;
        }
    };
    let serve = async { tokio::join!(listen::serve(sockets, &responder), follow(containers, clients_out), renew) };
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

/// Publishes the addresses of the containers that run. Ends with its input.
async fn follow(mut containers: watch::Receiver<Option<Containers>>, clients: watch::Sender<OrdSet<IpAddr>>) {
    loop {
        let known: Option<OrdSet<IpAddr>> = containers.borrow_and_update().as_ref().map(|containers| {
            containers.running.values().flat_map(|container| container.addresses.iter().copied()).collect()
        });
        publish(&clients, known.unwrap_or_default(), PartialEq::eq);
        if containers.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
