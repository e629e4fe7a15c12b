//! Which bridge has which vantage. Pure.

use imbl::{OrdMap, OrdSet};

use crate::model::{Family, IfName, ServiceId, Vantage, VipCidr};

use std::net::IpAddr;

/// The vantages of these bridges: a bridge keeps the one that it has; others get the first that is free, in order,
/// while there are any. A service that was given a VIP there by a former release keeps it.
#[must_use]
pub(super) fn assign<'a>(
    before: &OrdMap<IfName, Vantage>,
    bridges: &OrdSet<IfName>,
    range: VipCidr,
    holder: impl Fn(IpAddr) -> Option<&'a ServiceId>,
) -> OrdMap<IfName, Vantage> {
    debug_assert_eq!(range.family(), Family::V4);
    let mut given: OrdMap<IfName, Vantage> =
        before.iter().filter(|(name, _)| bridges.contains(*name)).map(|(name, of)| (name.clone(), *of)).collect();
    let taken: Vec<IpAddr> = given.values().map(|vantage| vantage.address).collect();
    let free = |vantage: &Vantage| {
        !taken.contains(&vantage.address) && holder(vantage.address).is_none() && holder(vantage.vip).is_none()
    };
    let new = bridges.iter().filter(|name| !before.contains_key(*name));
    given.extend(new.cloned().zip(range.vantages().filter(free)));
    given
}

#[cfg(test)]
mod tests;
