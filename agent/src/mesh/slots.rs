//! How many slots a service needs, and which endpoint takes which.
//!
//! A connection draws one slot at random, so an endpoint's share of the connections is its share of the slots. The
//! fewest slots that bring every share within 5 % of its weight are taken: three equal endpoints
//! take three. Kernel memory and programming time follow the endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::{MAX_SLOTS, Slots, Weight};

/// How far an endpoint's share may lie from its weight's, in percent of the latter.
const TOLERANCE_PERCENT: u64 = 5;

/// Assigns slots to endpoints. The same endpoints in the same order always give the same slots. `None` where there is
/// no endpoint. Endpoints beyond [`MAX_SLOTS`] take none.
#[must_use]
pub fn assign(endpoints: &[(SocketAddr, Weight)]) -> Option<Slots> {
    let endpoints = &endpoints[..endpoints.len().min(MAX_SLOTS as usize)];
    let weights: Vec<Weight> = endpoints.iter().map(|(_, weight)| *weight).collect();
    let counts = apportion(&weights);
    let slots: Slots =
        endpoints.iter().zip(counts).flat_map(|((address, _), n)| std::iter::repeat_n(*address, n as usize)).collect();
    (!slots.is_empty()).then_some(slots)
}

/// How many slots each weight takes: at least one each.
fn apportion(weights: &[Weight]) -> Vec<u32> {
    let mut groups: BTreeMap<u64, u64> = BTreeMap::new();
    for weight in weights {
        *groups.entry(u64::from(weight.get())).or_default() += 1;
    }
    let Some((&lightest, _)) = groups.first_key_value() else { return Vec::new() };
    let total: u64 = groups.iter().map(|(weight, n)| weight * n).sum();
    let bounds = |weight: u64, slots: u64| {
        let quota = weight * slots;
        let low = (quota * (100 - TOLERANCE_PERCENT)).div_ceil(100 * total).max(1);
        let high = quota * (100 + TOLERANCE_PERCENT) / (100 * total);
        (low, high)
    };
    let fits = |slots: u64| {
        let (mut least, mut most) = (0, 0);
        for (&weight, &n) in &groups {
            let (low, high) = bounds(weight, slots);
            if low > high {
                return false;
            }
            least += n * low;
            most += n * high;
        }
        (least..=most).contains(&slots)
    };
    // Below this the lightest endpoint's single slot is already too large a share. `total / divisor` slots are exact.
    let fewest = (100 * total).div_ceil((100 + TOLERANCE_PERCENT) * lightest).max(weights.len() as u64);
    let exact = total / groups.keys().fold(0, |divisor, &weight| gcd(weight, divisor));
    let slots = (fewest..=exact.min(u64::from(MAX_SLOTS))).find(|&slots| fits(slots));
    match slots {
        Some(slots) => fill(weights, slots, |weight| bounds(weight, slots), total),
        None => fill(weights, u64::from(MAX_SLOTS), |_| (1, u64::from(MAX_SLOTS)), total),
    }
}

/// Gives every endpoint its quota rounded down into its bounds, then the slots left over to whoever lacks most.
fn fill(weights: &[Weight], slots: u64, bounds: impl Fn(u64) -> (u64, u64), total: u64) -> Vec<u32> {
    let mut counts: Vec<u64> = weights
        .iter()
        .map(|weight| {
            let weight = u64::from(weight.get());
            let (low, high) = bounds(weight);
            (weight * slots / total).clamp(low, high.max(low))
        })
        .collect();
    let mut given: u64 = counts.iter().sum();
    // What an endpoint lacks, in units of 1/total slot; ties go to the first.
    let lack = |i: usize, count: u64| i128::from(u64::from(weights[i].get()) * slots) - i128::from(count * total);
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lack(i, counts[i])));
    while given < slots {
        let before = given;
        for &i in &order {
            if given < slots && counts[i] < bounds(u64::from(weights[i].get())).1 {
                counts[i] += 1;
                given += 1;
            }
        }
        if given == before {
            break;
        }
    }
    while given > slots {
        let before = given;
        for &i in order.iter().rev() {
            if given > slots && counts[i] > bounds(u64::from(weights[i].get())).0 {
                counts[i] -= 1;
                given -= 1;
            }
        }
        if given == before {
            break;
        }
    }
    counts.into_iter().map(|count| u32::try_from(count).unwrap_or(MAX_SLOTS)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
