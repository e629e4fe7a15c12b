//! Which VIP stands for which service. A service keeps its VIP as long as it is remembered, over restarts too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::{ServiceId, VipCidr};

/// How many services are remembered, live ones included, before those that are gone make room.
const MAX_REMEMBERED: usize = 32_768;

/// The VIPs given out on this node.
///
/// A service's VIP is the first free address from a position that its name alone decides, so that what is remembered
/// only matters where two names meet at one position.
#[derive(Debug, Clone)]
pub struct Vips {
    range: VipCidr,
    by_service: BTreeMap<ServiceId, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, ServiceId>,
    generation: u64,
}

/// The remembered VIPs as they are written to the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// `namespace/discovery-name` to VIP.
    pub vips: BTreeMap<String, Ipv4Addr>,
}

impl Vips {
    /// Begins with what was remembered. Entries that are not names, lie outside the range, or stand twice are dropped.
    #[must_use]
    pub fn new(range: VipCidr, remembered: &Remembered) -> Self {
        let mut vips = Self { range, by_service: BTreeMap::new(), by_address: HashMap::new(), generation: 0 };
        for (service, &vip) in remembered.vips.iter().take(MAX_REMEMBERED) {
            let parsed = service.split_once('/').and_then(|(namespace, name)| {
                Some(ServiceId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
            });
            if let Some(service) = parsed
                && range.holds(vip)
                && !vips.by_address.contains_key(&vip)
            {
                vips.insert(service, vip);
            }
        }
        vips
    }

    /// What is to be remembered.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered { vips: self.by_service.iter().map(|(service, vip)| (service.to_string(), *vip)).collect() }
    }

    /// Counts up whenever what is to be remembered changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The service's VIP; a new service is given one. `None` when every address of the range stands for a live service.
    pub fn assign(&mut self, service: &ServiceId, live: impl Fn(&ServiceId) -> bool) -> Option<Ipv4Addr> {
        if let Some(vip) = self.by_service.get(service) {
            return Some(*vip);
        }
        let limit = MAX_REMEMBERED.min(self.range.capacity() as usize);
        if self.by_service.len() >= limit {
            self.forget(&live);
        }
        let start = position(service);
        let vip = (0..self.range.capacity())
            .map(|step| self.range.nth(start.wrapping_add(step) % self.range.capacity()))
            .find(|vip| !self.by_address.contains_key(vip))?;
        self.insert(service.clone(), vip);
        self.generation += 1;
        Some(vip)
    }

    /// The service that a VIP stands for.
    #[must_use]
    pub fn holder(&self, vip: Ipv4Addr) -> Option<&ServiceId> {
        self.by_address.get(&vip)
    }

    fn insert(&mut self, service: ServiceId, vip: Ipv4Addr) {
        self.by_address.insert(vip, service.clone());
        self.by_service.insert(service, vip);
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
