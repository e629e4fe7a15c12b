//! Which endpoints of a service take connections, and each one's state as seen from this node. Pure.

use std::cmp::Reverse;
use std::net::SocketAddrV4;
use std::sync::Arc;

use crate::config::Locality;
use crate::model::{Ejection, Ejections, Endpoint, EndpointView, State, Weight};

/// Decides who serves among the endpoints of one service and transport.
///
/// Healthy ones serve. At most half of them are avoided as ejected, those that are avoided longest first. Where none is
/// healthy, those serve that are and were held back as a last resort; where there is none of these either, those that
/// once were healthy, since a check may err. None of these substitutes is ejected: there is nobody better. One that is
/// starting, or drains and is no last resort, never serves. Of those that would serve only the ones in this node's own
/// zone do, if there are any and locality asks for it.
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

    let turns = || (0..views.len()).filter_map(|i| Some((turn(&views[i])?, i)));
    let first = turns().map(|(turn, _)| turn).min();
    let mut serving: Vec<usize> = turns().filter(|(turn, _)| Some(*turn) == first).map(|(_, i)| i).collect();
    if locality == Locality::PreferZone && zone.is_some() {
        let near: Vec<usize> = serving.iter().copied().filter(|&i| views[i].endpoint.zone.as_ref() == zone).collect();
        if !near.is_empty() {
            serving = near;
        }
    }
    let chosen = serving.iter().map(|&i| (views[i].endpoint.address, views[i].endpoint.weight)).collect();
    (views, chosen)
}

/// When it is an endpoint's turn to serve: where nobody has an earlier one. `None` never serves.
fn turn(view: &EndpointView) -> Option<u8> {
    match view.state {
        State::Healthy => Some(0),
        State::Draining if view.endpoint.last_resort => Some(1),
        State::Unhealthy => Some(2),
        State::Starting | State::Ejected | State::Draining => None,
    }
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
