//! Which VIP stands for which service. A service keeps its VIP as long as it is remembered, over restarts too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{DualStack, Family, ServiceId, VipCidr, VipRanges};

/// How many services are remembered, live ones included, before those that are gone make room.
const MAX_REMEMBERED: usize = 32_768;

/// The VIPs given out on this node.
///
/// A service's VIP is the first free address from a position that its name alone decides, so that what is remembered
/// only matters where two names meet at one position.
#[derive(Debug, Clone)]
pub struct Vips {
    ranges: VipRanges,
    by_service: BTreeMap<ServiceId, DualStack>,
    by_address: HashMap<IpAddr, ServiceId>,
    generation: u64,
}

/// The remembered VIPs as they are written to the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// `namespace/discovery-name` to its VIP, or to the list of its VIPs where it has one of each family.
    pub vips: BTreeMap<String, DualStack>,
}

impl Vips {
    /// Begins with what was remembered. Entries that are not names are dropped, and of the others the addresses that lie
    /// outside the ranges or stand twice.
    #[must_use]
    pub fn new(ranges: VipRanges, remembered: &Remembered) -> Self {
        let mut vips = Self { ranges, by_service: BTreeMap::new(), by_address: HashMap::new(), generation: 0 };
        for (service, stack) in remembered.vips.iter().take(MAX_REMEMBERED) {
            let parsed = service.split_once('/').and_then(|(namespace, name)| {
                Some(ServiceId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
            });
            let Some(service) = parsed else { continue };
            for vip in stack.iter() {
                let held = ranges.get(Family::of(vip)).is_some_and(|range| range.holds(vip));
                if held && !vips.by_address.contains_key(&vip) {
                    vips.insert(&service, vip);
                }
            }
        }
        vips
    }

    /// What is to be remembered.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered { vips: self.by_service.iter().map(|(service, vips)| (service.to_string(), *vips)).collect() }
    }

    /// Counts up whenever what is to be remembered changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The service's VIP of a family; a new service is given one. `None` when every address of the range stands for a
    /// live service, or there is no range of that family.
    pub fn assign(&mut self, service: &ServiceId, family: Family, live: impl Fn(&ServiceId) -> bool) -> Option<IpAddr> {
        if let Some(vip) = self.by_service.get(service).and_then(|vips| vips.get(family)) {
            return Some(vip);
        }
        let range = self.ranges.get(family)?;
        let limit = MAX_REMEMBERED.min(range.capacity() as usize);
        if self.by_service.len() >= limit && !self.by_service.contains_key(service) {
            self.forget(&live);
        }
        let vip = self.free(service, range)?;
        self.insert(service, vip);
        self.generation += 1;
        Some(vip)
    }

    /// The service that a VIP stands for.
    #[must_use]
    pub fn holder(&self, vip: IpAddr) -> Option<&ServiceId> {
        self.by_address.get(&vip)
    }

    fn free(&self, service: &ServiceId, range: VipCidr) -> Option<IpAddr> {
        let (start, capacity) = (position(service) % range.capacity(), range.capacity());
        // One more address than are taken suffices to find a free one.
        let steps = capacity.min(u32::try_from(self.by_address.len()).unwrap_or(u32::MAX).saturating_add(1));
        let nth = |step: u32| range.nth(((u64::from(start) + u64::from(step)) % u64::from(capacity)) as u32);
        (0..steps).map(nth).find(|vip| !self.by_address.contains_key(vip))
    }

    fn insert(&mut self, service: &ServiceId, vip: IpAddr) {
        self.by_address.insert(vip, service.clone());
        let both = self.by_service.get(service).and_then(|vips| DualStack::collect(vips.iter().chain([vip])));
        self.by_service.insert(service.clone(), both.unwrap_or_else(|| vip.into()));
    }

    fn forget(&mut self, live: impl Fn(&ServiceId) -> bool) {
        self.by_service.retain(|service, _| live(service));
        let kept: BTreeSet<&ServiceId> = self.by_service.keys().collect();
        self.by_address.retain(|_, service| kept.contains(service));
    }
}

/// Where the search for a service's VIP begins: FNV-1a of its name, folded to 32 bits. Fixed for ever, since it decides
/// VIPs that containers may have cached.
fn position(service: &ServiceId) -> u32 {
    let hash = service
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests;
