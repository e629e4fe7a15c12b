//! Which UDP endpoints drain and still answer: flows to them stay where they are. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use imbl::OrdSet;

use crate::model::{Endpoint, EndpointState, L4};

/// The addresses of all that drain; several services may have an endpoint at one.
#[derive(Debug, Default)]
pub(super) struct Drains {
    counts: BTreeMap<SocketAddr, usize>,
    addresses: OrdSet<SocketAddr>,
}

impl Drains {
    /// Takes note of what became of one service's endpoints.
    pub(super) fn follow<'a>(
        &mut self,
        before: impl Iterator<Item = &'a Arc<Endpoint>>,
        now: impl Iterator<Item = &'a Arc<Endpoint>>,
    ) {
        for address in now.filter(|endpoint| drains(endpoint)).flat_map(|endpoint| endpoint.addresses.iter()) {
            *self.counts.entry(address).or_default() += 1;
            self.addresses.insert(address);
        }
        for address in before.filter(|endpoint| drains(endpoint)).flat_map(|endpoint| endpoint.addresses.iter()) {
            let Some(count) = self.counts.get_mut(&address) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
                self.addresses.remove(&address);
            }
        }
    }

    /// Where they are, in every view.
    pub(super) fn addresses(&self) -> &OrdSet<SocketAddr> {
        &self.addresses
    }
}

fn drains(endpoint: &Endpoint) -> bool {
    endpoint.protocol.l4() == L4::Udp && endpoint.state == EndpointState::Draining && endpoint.last_resort
}
