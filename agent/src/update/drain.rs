//! Takes this node's endpoints out of service around its update, and counts the connections they still have.
//!
//! A stage between health and the registry: receives the node's own endpoints and its availability, emits the
//! endpoints as all nodes are to see them. What health found stays as it is for whoever judges the update by it. Never
//! ends a connection, and never decides when the node drains or for how long.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::dataplane::conntrack;
use crate::model::publish::{if_given, publish};
use crate::model::{Endpoint, EndpointState, Endpoints, L4};

/// Whether this node's endpoints take connections.
#[derive(Debug, Clone, PartialEq)]
pub enum Availability {
    /// They do, each as its health says.
    Serving,
    /// The node is about to reboot: they take new ones only where nobody else's endpoints do, since whoever has no other
    /// place to go is not refused before the reboot itself.
    Draining {
        /// Why, for people, such as `its node drains for the update to 1.21.1`.
        why: Arc<str>,
    },
    /// They take some where nobody else's endpoints do: the node is not trusted yet, but on a node by itself workloads
    /// could never prove healthy if nobody could reach them.
    LastResort {
        /// Why, for people, such as `its node verifies the update to 1.21.1`.
        why: Arc<str>,
    },
}

/// This node's endpoints as all nodes are to see them: the very same map while it serves. One that drains by itself
/// keeps its own reason.
#[must_use]
pub fn withhold(own: &Endpoints, availability: &Availability) -> Endpoints {
    let reason: Arc<str> = match availability {
        Availability::Serving => return own.clone(),
        Availability::Draining { why } | Availability::LastResort { why } => {
            format!("{why}; serves where nobody else does").into()
        }
    };
    let mut withheld = own.clone();
    // One that is not healthy stands behind all that are anyway.
    for (key, endpoint) in own.iter().filter(|(_, endpoint)| endpoint.state == EndpointState::Healthy) {
        let endpoint = Endpoint {
            state: EndpointState::Draining,
            last_resort: true,
            reason: Arc::clone(&reason),
            ..Endpoint::clone(endpoint)
        };
        withheld.insert(key.clone(), Arc::new(endpoint));
    }
    withheld
}

/// Keeps `out` at what [`withhold`] makes of the newest endpoints and availability. `None`, endpoints that are not known
/// yet, stays `None`. Runs until nobody will tell of endpoints any more; the availability that was told last stays.
pub async fn follow(
    mut own: watch::Receiver<Option<Endpoints>>,
    mut availability: watch::Receiver<Availability>,
    out: watch::Sender<Option<Endpoints>>,
) {
    loop {
        let now = availability.borrow_and_update().clone();
        let endpoints = own.borrow_and_update().clone().map(|own| withhold(&own, &now));
        publish(&out, endpoints, if_given(Endpoints::ptr_eq));
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            Ok(()) = availability.changed() => {}
        }
    }
}

/// How many connections this node's TCP endpoints have now, as far as [`conntrack::count`] sees them in the network
/// namespace of the calling thread. Those over UDP have no end to wait for. Zero while the endpoints are not known.
///
/// # Errors
/// Those of [`conntrack::count`].
pub async fn connections(own: &watch::Receiver<Option<Endpoints>>) -> io::Result<u64> {
    let tcp: BTreeSet<SocketAddr> = own
        .borrow()
        .iter()
        .flat_map(Endpoints::values)
        .filter(|endpoint| endpoint.protocol.l4() == L4::Tcp)
        .flat_map(|endpoint| endpoint.addresses.local())
        .collect();
    conntrack::count(tcp).await
}

#[cfg(test)]
mod tests;
