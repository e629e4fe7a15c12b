//! Whether as many endpoints of this node are healthy as before. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::report::{Baseline, Check, first_of};
use crate::model::{EndpointState, Endpoints};

/// Healthy endpoints by service.
type Healthy = BTreeMap<String, usize>;

/// What the fraction may be off, since it was written in decimals: 0.07 of 100 is 7.
const ROUNDING: f64 = 1e-9;

/// How many endpoints of each service are healthy; services without any are left out.
pub(super) fn healthy(own: &Endpoints) -> Healthy {
    let mut counts = Healthy::new();
    for endpoint in own.values().filter(|endpoint| endpoint.state == EndpointState::Healthy) {
        *counts.entry(endpoint.service.to_string()).or_default() += 1;
    }
    counts
}

/// Compares all endpoints together: an orchestrator may bring other services here than before. `now` is `None` while
/// it is not known.
pub(super) fn compare(baseline: &Baseline, now: Option<&Healthy>, min_healthy: f64) -> Check {
    let before: usize = baseline.healthy.values().sum();
    let finding = match now {
        _ if before == 0 => Ok("nothing to compare with: no healthy endpoint is known from before".to_owned()),
        None => Err(format!("no endpoint is known yet, {before} were healthy before the update")),
        Some(now) => {
            let healthy: usize = now.values().sum();
            let needed = needed(before, min_healthy);
            let found = format!(
                "{healthy} healthy, {before} before the update, at least {needed} wanted{}",
                losses(&baseline.healthy, now)
            );
            if healthy >= needed { Ok(found) } else { Err(found) }
        }
    };
    Check::new("endpoints", finding)
}

/// How many endpoints must be healthy.
fn needed(before: usize, min_healthy: f64) -> usize {
    ((min_healthy - ROUNDING) * before as f64).ceil() as usize
}

/// Which services have fewer than before, the greatest loss first.
fn losses(before: &Healthy, now: &Healthy) -> String {
    let left = |service: &String| now.get(service).copied().unwrap_or(0);
    let mut lost: Vec<_> = before.iter().filter(|(service, had)| left(service) < **had).collect();
    if lost.is_empty() {
        return String::new();
    }
    lost.sort_by_key(|(service, had)| Reverse(**had - left(service)));
    let lost: Vec<String> = lost.iter().map(|(service, had)| format!("{service} {} of {had}", left(service))).collect();
    format!("; fewer than before: {}", first_of(&lost))
}

#[cfg(test)]
mod tests;
