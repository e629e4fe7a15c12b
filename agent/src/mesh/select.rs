//! Which endpoints of a service take connections, and each one's state as seen from this node. Pure.

use std::cmp::Reverse;
use std::net::SocketAddrV4;
use std::sync::Arc;

use super::view::EndpointView;
use crate::config::Locality;
use crate::health::outlier::{Ejection, Ejections};
use crate::model::{Endpoint, State, Weight};

/// Decides who serves among the endpoints of one service and transport.
///
/// Healthy ones serve, of this node's own zone if any of them is there and locality asks for it. At most half of the
/// healthy ones are avoided as ejected, those that are avoided longest first. Where none is healthy those that once
/// were serve, since a check may err; one that is starting or draining never serves.
#[must_use]
pub fn select(
    endpoints: &[Arc<Endpoint>],
    ejections: &Ejections,
    zone: Option<&Arc<str>>,
    locality: Locality,
) -> (Vec<EndpointView>, Vec<(SocketAddrV4, Weight)>) {
    let mut views: Vec<EndpointView> = endpoints
        .iter()
        .map(|endpoint| EndpointView {
            endpoint: endpoint.clone(),
            state: endpoint.state,
            reason: endpoint.reason.clone(),
            share: 0.0,
        })
        .collect();
    eject(&mut views, ejections);

    let in_state = |state| (0..views.len()).filter(|&i| views[i].state == state).collect::<Vec<_>>();
    let mut serving = in_state(State::Healthy);
    if serving.is_empty() {
        serving = in_state(State::Unhealthy);
    }
    if locality == Locality::PreferZone && zone.is_some() {
        let near: Vec<usize> = serving.iter().copied().filter(|&i| views[i].endpoint.zone.as_ref() == zone).collect();
        if !near.is_empty() {
            serving = near;
        }
    }
    let chosen = serving.iter().map(|&i| (views[i].endpoint.address, views[i].endpoint.weight)).collect();
    (views, chosen)
}

fn eject(views: &mut [EndpointView], ejections: &Ejections) {
    if ejections.is_empty() {
        return;
    }
    let healthy = views.iter().filter(|view| view.state == State::Healthy).count();
    let mut ejected: Vec<(&Ejection, &mut EndpointView)> = views
        .iter_mut()
        .filter(|view| view.state == State::Healthy)
        .filter_map(|view| Some((ejections.get(&(view.endpoint.protocol.l4(), view.endpoint.address))?, view)))
        .collect();
    ejected.sort_by_key(|(ejection, _)| Reverse(ejection.until));
    for (ejection, view) in ejected.into_iter().take(healthy / 2) {
        view.state = State::Ejected;
        view.reason = ejection.reason.clone();
    }
}

#[cfg(test)]
mod tests;
