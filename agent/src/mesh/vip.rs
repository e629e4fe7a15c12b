//! Which VIP stands for which service. A service keeps its VIP as long as it is remembered, over restarts too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::known::KnownService;
use crate::model::{DualStack, Family, ServiceId, VipCidr, VipRanges};

/// How many services are remembered, live ones included, before those that are gone make room.
const MAX_REMEMBERED: usize = 32_768;
/// How long a VIP stays its service's after its last use, in seconds: clients may have cached it.
const KEPT: u64 = 24 * 3600;

/// The VIPs given out on this node.
///
/// A service's VIP is the first free address from a position that its name alone decides, so that what is remembered
/// only matters where two names meet at one position.
#[derive(Debug, Clone)]
pub struct Vips {
    ranges: VipRanges,
    by_service: BTreeMap<ServiceId, DualStack>,
    by_address: HashMap<IpAddr, ServiceId>,
    /// When services that are gone were last there, in seconds since the Unix epoch.
    left: BTreeMap<ServiceId, u64>,
    /// Whether a VIP was given to another service before its time, which is told once.
    hurried: bool,
    generation: u64,
}

/// What is remembered of services' names and VIPs, as it is written to the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// `namespace/discovery-name` to its VIP, or to the list of its VIPs where it has one of each family.
    pub vips: BTreeMap<String, DualStack>,
    /// When the services among these that are gone were last there, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<String, u64>,
    /// Since when services have claimed an alias name that is not their own, in milliseconds since the Unix epoch: by
    /// alias name, then by `namespace/discovery-name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeMap<String, u64>>,
    /// Services that are known, with endpoints or for a while without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownService>,
}

/// Reads `namespace/discovery-name`.
pub(super) fn service_id(text: &str) -> Option<ServiceId> {
    let (namespace, name) = text.split_once('/')?;
    Some(ServiceId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
}

impl Vips {
    /// Begins with what was remembered. Entries that are not names are dropped, and of the others the addresses that lie
    /// outside the ranges or stand twice.
    #[must_use]
    pub fn new(ranges: VipRanges, remembered: &Remembered) -> Self {
        let mut vips = Self {
            ranges,
            by_service: BTreeMap::new(),
            by_address: HashMap::new(),
            left: BTreeMap::new(),
            hurried: false,
            generation: 0,
        };
        for (service, stack) in remembered.vips.iter().take(MAX_REMEMBERED) {
            let left = remembered.left.get(service);
            let Some(service) = service_id(service) else { continue };
            for vip in stack.iter() {
                let held = ranges.get(Family::of(vip)).is_some_and(|range| range.holds(vip));
                if held && !vips.by_address.contains_key(&vip) {
                    vips.insert(&service, vip);
                }
            }
            if let Some(left) = left.filter(|_| vips.by_service.contains_key(&service)) {
                vips.left.insert(service, *left);
            }
        }
        vips
    }

    /// What is to be remembered of VIPs.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered {
            vips: self.by_service.iter().map(|(service, vips)| (service.to_string(), *vips)).collect(),
            left: self.left.iter().map(|(service, left)| (service.to_string(), *left)).collect(),
            ..Remembered::default()
        }
    }

    /// The VIPs that a service has, or had when it was last there.
    #[must_use]
    pub fn of(&self, service: &ServiceId) -> Option<DualStack> {
        self.by_service.get(service).copied()
    }

    /// A service that was taken for gone is known after all.
    pub(super) fn stay(&mut self, service: &ServiceId) {
        if self.left.remove(service).is_some() {
            self.generation += 1;
        }
    }

    /// Counts up whenever what is to be remembered changes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The service's VIP of a family; a new service is given one. `None` when every address of the range stands for a
    /// live service, or there is no range of that family. `now`: in seconds since the Unix epoch.
    pub fn assign(
        &mut self,
        service: &ServiceId,
        family: Family,
        now: u64,
        live: impl Fn(&ServiceId) -> bool,
    ) -> Option<IpAddr> {
        if self.left.remove(service).is_some() {
            self.generation += 1;
        }
        if let Some(vip) = self.by_service.get(service).and_then(|vips| vips.get(family)) {
            return Some(vip);
        }
        let range = self.ranges.get(family)?;
        let limit = MAX_REMEMBERED.min(range.available() as usize);
        if self.by_service.len() >= limit && !self.by_service.contains_key(service) {
            self.make_room(now, live);
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
        // One more address than are taken or reserved suffices to find a free one.
        let unavailable = u32::try_from(self.by_address.len()).unwrap_or(u32::MAX);
        let unavailable = unavailable.saturating_add(capacity - range.available());
        let (steps, reserved) = (capacity.min(unavailable.saturating_add(1)), range.reserved());
        let nth = |step: u32| range.nth(((u64::from(start) + u64::from(step)) % u64::from(capacity)) as u32);
        (0..steps).map(nth).find(|vip| !reserved.contains(vip) && !self.by_address.contains_key(vip))
    }

    fn insert(&mut self, service: &ServiceId, vip: IpAddr) {
        self.by_address.insert(vip, service.clone());
        let both = self.by_service.get(service).and_then(|vips| DualStack::collect(vips.iter().chain([vip])));
        self.by_service.insert(service.clone(), both.unwrap_or_else(|| vip.into()));
    }

    /// A service is gone; its VIPs stay its own for a day at least. `now`: in seconds since the Unix epoch.
    pub fn leave(&mut self, service: &ServiceId, now: u64) {
        if self.by_service.contains_key(service) {
            self.left.insert(service.clone(), now);
            self.generation += 1;
        }
    }

    /// Takes all services for gone that are not live and not known to be: nobody saw when they went.
    pub fn leave_unless(&mut self, now: u64, live: impl Fn(&ServiceId) -> bool) {
        let unseen = self.by_service.keys().filter(|service| !live(service) && !self.left.contains_key(service));
        for service in unseen.cloned().collect::<Vec<_>>() {
            self.leave(&service, now);
        }
    }

    /// Forgets those that have been gone for a day; where there is none, the one that has been gone longest.
    fn make_room(&mut self, now: u64, live: impl Fn(&ServiceId) -> bool) {
        self.leave_unless(now, &live);
        // A clock that was put back would keep them for ever.
        self.left.values_mut().for_each(|left| *left = (*left).min(now));
        let mut over: BTreeSet<ServiceId> = self.left.iter().filter(|(_, left)| now - **left >= KEPT).map(id).collect();
        if over.is_empty() {
            over.extend(self.left.iter().min_by_key(|(_, left)| **left).map(id));
            if !over.is_empty() && !std::mem::replace(&mut self.hurried, true) {
                tracing::warn!(
                    "too many services come and go: a VIP is given to another service within a day of its \
                    last use, and clients may have cached it; widen mesh.vip_cidr"
                );
            }
        }
        self.by_service.retain(|service, _| !over.contains(service));
        self.by_address.retain(|_, service| !over.contains(service));
        self.left.retain(|service, _| !over.contains(service));
    }
}

fn id((service, _): (&ServiceId, &u64)) -> ServiceId {
    service.clone()
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
