//! The resolver that containers' captured port-53 queries reach: mesh names are answered here, the rest goes to the server
//! that was asked.
//!
//! Receives what may be told, whose queries are captured, and who may ask; emits answers, counts, its own
//! [`ResolverState`] and, while it answers, renewals of the lease that keeps the capture alive in the kernel. Never
//! decides which names exist, never touches the kernel's tables.
//!
//! `message` (pure) reads queries and makes answers by what `zones` (pure) says of names; `forward` asks name servers by
//! datagram, `unreachable` says that one cannot be asked, `conversation` is a TCP connection; `responder` joins them under
//! the shares of `limit`, `strangers` (pure) keeps what comes before Docker has told of its sender, `listen` owns the
//! sockets, `lease` the renewals of the ways that `client_paths` tries. hickory-proto reads and writes messages;
//! hickory-server is not used, because its responses cannot carry a server's bytes untouched and its listeners start a
//! task for every datagram.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdSet;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::client_paths::ClientPaths;
use crate::dataplane::vantages::Vantages;
use crate::model::{Containers, publish};

mod asker;
mod client_paths;
mod conversation;
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
mod self_query;
mod strangers;
mod transport;
pub(crate) mod unreachable;
mod zones;

pub use lease::Lease;
pub(crate) use message::LEASE_NAME;
pub use metrics::ResolverMetrics;
pub use resolver_config::{ResolverConfig, ResolverInputs};
pub use resolver_state::{PathStates, ResolverState};
pub use self_query::SelfQuery;
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
    let (containers, vantages) = (inputs.containers.clone(), inputs.vantages.clone());
    let mut served = inputs.served.clone();
    let Some((sockets, address)) = stop.run_until_cancelled(listen::bind(&config, &state)).await else { return };
    let paths = ClientPaths {
        vantages: vantages.clone(),
        servers: inputs.servers.clone(),
        host: config.host.then(|| SelfQuery::new(address, config.mark)),
    };
    let responder = Arc::new(responder::Responder::new(config, inputs, clients, metrics));
    let renew = async {
        if served.wait_for(Option::is_some).await.is_ok() {
            lease::keep(paths, lease, &state).await;
        }
    };
    let serve =
        async { tokio::join!(listen::serve(sockets, &responder), follow(containers, vantages, clients_out), renew) };
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

/// Publishes the addresses of the containers that run, and of the agent's own vantages. Ends with the first.
async fn follow(
    mut containers: watch::Receiver<Option<Containers>>,
    mut vantages: watch::Receiver<Option<Vantages>>,
    clients: watch::Sender<OrdSet<IpAddr>>,
) {
    loop {
        let mut known: OrdSet<IpAddr> = OrdSet::new();
        if let Some(containers) = &*containers.borrow_and_update() {
            known.extend(containers.running.values().flat_map(|container| container.addresses.iter().copied()));
        }
        if let Some(vantages) = &*vantages.borrow_and_update() {
            known.extend(vantages.values().flatten().map(|point| point.vantage.address));
        }
        publish(&clients, known, PartialEq::eq);
        tokio::select! {
            changed = containers.changed() => if changed.is_err() { return },
            Ok(()) = vantages.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests;
