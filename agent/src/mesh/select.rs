//! Which endpoints of a service take connections, and each one's state as this node sees it. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::Locality;
use crate::model::{DesiredEndpoint, Ejection, Ejections, Endpoint, EndpointState};

/// The endpoints of one service and transport with their states. Whoever would serve and is proven to fail is ejected; of
/// the other healthy ones those that are suspected, at most half, those that are to be avoided longest first.
#[must_use]
pub fn judge(endpoints: &[Arc<Endpoint>], ejections: &Ejections) -> Vec<DesiredEndpoint> {
    let mut judged: Vec<DesiredEndpoint> = endpoints
        .iter()
        .map(|endpoint| DesiredEndpoint {
            endpoint: endpoint.clone(),
            state: endpoint.state,
            reason: endpoint.reason.clone(),
            share: 0.0,
        })
        .collect();
    eject(&mut judged, ejections);
    judged
}

/// Decides who serves among those that a client can reach; gives their places.
///
/// Healthy ones serve. Where none is healthy, those serve that drain and still answer; where there is none of these
/// either, those that once were healthy, since a check may err; at last those that are ejected, since they may be back,
/// and a refusal of ours would help nobody. None of these substitutes is ejected on suspicion: there is nobody better. One
/// that is starting, or drains and is no last resort, never serves. Of those that would serve only the ones in this node's
/// own zone do, if there are any and locality asks for it.
#[must_use]
pub fn select(
    judged: &[DesiredEndpoint],
    is_reached: impl Fn(&Endpoint) -> bool,
    zone: Option<&Arc<str>>,
    locality: Locality,
) -> Vec<usize> {
    let reached = judged.iter().enumerate().filter(|(_, one)| is_reached(&one.endpoint));
    let ranked: Vec<(u8, usize)> = reached.filter_map(|(i, one)| Some((rank(one)?, i))).collect();
    let first = ranked.iter().map(|(rank, _)| *rank).min();
    let mut serving: Vec<usize> = ranked.into_iter().filter(|(rank, _)| Some(*rank) == first).map(|(_, i)| i).collect();
    if locality == Locality::PreferZone && zone.is_some() {
        let near: Vec<usize> = serving.iter().copied().filter(|&i| judged[i].endpoint.zone.as_ref() == zone).collect();
        if !near.is_empty() {
            serving = near;
        }
    }
    serving
}

/// Whom it comes after: an endpoint serves where nobody has a lesser rank. `None` never serves.
fn rank(one: &DesiredEndpoint) -> Option<u8> {
    match one.state {
        EndpointState::Healthy => Some(0),
        EndpointState::Draining if one.endpoint.last_resort => Some(1),
        EndpointState::Unhealthy => Some(2),
        EndpointState::Ejected => Some(3),
        EndpointState::Starting | EndpointState::Draining => None,
    }
}

fn eject(judged: &mut [DesiredEndpoint], ejections: &Ejections) {
    if ejections.is_empty() {
        return;
    }
    let mut suspected: Vec<(&Ejection, &mut DesiredEndpoint)> = Vec::new();
    let mut others = 0;
    for one in judged.iter_mut().filter(|one| matches!(rank(one), Some(0 | 1))) {
        let healthy = one.state == EndpointState::Healthy;
        match one.endpoint.targets().find_map(|target| ejections.get(&target)) {
            Some(ejection) if ejection.proven => avoid(one, ejection),
            Some(ejection) if healthy => suspected.push((ejection, one)),
            _ => others += usize::from(healthy),
        }
    }
    let most = (suspected.len() + others) / 2;
    suspected.sort_by_key(|(ejection, _)| Reverse(ejection.until));
    suspected.into_iter().take(most).for_each(|(ejection, one)| avoid(one, ejection));
}

fn avoid(one: &mut DesiredEndpoint, ejection: &Ejection) {
    one.state = EndpointState::Ejected;
    one.reason = ejection.reason.clone();
}

#[cfg(test)]
mod tests;
