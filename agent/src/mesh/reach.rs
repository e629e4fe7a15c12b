//! By which way clients reach a service, and its slots for each. Pure.

use std::sync::Arc;

use super::select::select;
use super::slots;
use crate::config::Locality;
use crate::model::{DesiredEndpoint, Endpoint, Family, L4, Slots, View};

/// A way to reach a service: for clients of a view, to addresses of a family, over a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) view: View,
    pub(super) family: Family,
    pub(super) l4: L4,
}

impl Reach {
    /// The slots of a service's endpoints; `None` where none of them serves that clients reach by this way.
    pub(super) fn slots(
        self,
        endpoints: &[DesiredEndpoint],
        zone: Option<&Arc<str>>,
        locality: Locality,
    ) -> Option<Slots> {
        let address = |endpoint: &Endpoint| endpoint.addresses.seen_from(self.view)?.get(self.family);
        let serving = select(endpoints, |endpoint| address(endpoint).is_some(), zone, locality);
        let chosen: Vec<_> = serving
            .into_iter()
            .filter_map(|i| Some((address(&endpoints[i].endpoint)?, endpoints[i].endpoint.weight)))
            .collect();
        slots::assign(&chosen)
    }
}

/// Gives every endpoint its part of the slots of this node's clients: the mean over the families that the service is
/// dialled by. Slots stand in the order of the endpoints, those of one together.
pub(super) fn share_out(endpoints: &mut [DesiredEndpoint], all: &[(Family, &Slots)]) {
    for (family, slots) in all {
        let total = (slots.len() * all.len()) as f64;
        let mut rest = endpoints.iter_mut();
        for run in slots.chunk_by(|a, b| a == b) {
            let address = |one: &DesiredEndpoint| one.endpoint.addresses.seen_from(View::Node)?.get(*family);
            if let Some(one) = rest.find(|one| address(one).as_ref() == run.first()) {
                one.share += run.len() as f64 / total;
            }
        }
    }
}
