//! Which ranges VIPs are taken from in this boot.
//!
//! Clients keep VIPs: in connections, in caches, in hosts files. So the ranges of a boot's first start are kept until the
//! next boot, whatever the configuration says by then; what is configured counts from the first start of a boot, and is
//! refused there if somebody else holds it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::config::{MeshSettings, Paths};
use crate::model::{Family, VipCidr, VipRanges, error_chain};
use crate::sources::boot::boot_id;
use crate::sources::networks::{OtherNetwork, others, overlapping};
use crate::state_file::StateFile;

/// The file in the state directory that says which ranges this boot began with.
const FILE: &str = "vip-ranges.json";
/// A larger file is not ours.
const MAX_FILE: u64 = 4096;

/// Why there is no range to take VIPs from.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// Somebody else holds it.
    #[error("mesh.vip_cidr {range} is not free on this host: {other}; set mesh.vip_cidr to a range that nobody holds")]
    Taken {
        /// The range.
        range: VipCidr,
        /// Who holds some of it.
        other: OtherNetwork,
    },
}

/// The ranges that a boot began with, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptRanges {
    boot: Arc<str>,
    v4: String,
    v6: Option<String>,
}

impl KeptRanges {
    fn new(boot: Arc<str>, ranges: VipRanges) -> Self {
        let v6 = ranges.get(Family::V6).map(|range| range.to_string());
        Self { boot, v4: ranges.v4().to_string(), v6 }
    }

    /// The ranges, if they are this boot's.
    fn of_boot(&self, boot: &str) -> Option<VipRanges> {
        let v6 = self.v6.as_ref().map(|text| VipCidr::parse_v6(text)).transpose().ok()?;
        let v4 = VipCidr::parse_v4(&self.v4).ok()?;
        VipRanges::new(v4, v6).filter(|_| &*self.boot == boot)
    }
}

/// Whether an agent of a release whose default was `range` has begun this boot: its resolver's address is still there.
fn is_held_by_a_former_agent(range: VipCidr, addresses: &[IpAddr]) -> bool {
    addresses.contains(&range.resolver())
}

/// The ranges of this boot: those that it began with, or at its first start the configured ones, which are kept.
///
/// # Errors
/// At a boot's first start: somebody else holds a configured range. Later that is only said.
pub async fn settle(mesh: &MeshSettings, paths: &Paths) -> Result<VipRanges, RangeError> {
    let file = file(paths);
    let boot = match boot_id(&paths.boot_id) {
        Ok(boot) => boot,
        Err(error) => {
            warn!(error = %error_chain(&error), "VIPs may move when mesh.vip_cidr is changed");
            return first(mesh.vip_ranges, paths).await.map(|()| mesh.vip_ranges);
        }
    };
    let kept = kept(&file, &boot).or_else(|| adopted(mesh.vip_ranges));
    let ranges = match kept {
        Some(kept) => {
            if kept != mesh.vip_ranges {
                info!(kept = %kept.v4(), configured = %mesh.vip_ranges.v4(),
                    "mesh.vip_cidr counts from the next boot; VIPs do not move under clients");
            }
            if let Some(other) = overlapping(kept.v4(), &others(kept.v4(), paths).await) {
                error!(range = %kept.v4(), %other,
                    "somebody else holds addresses of the VIP range; set mesh.vip_cidr to a free one and reboot");
            }
            kept
        }
        None => {
            first(mesh.vip_ranges, paths).await?;
            mesh.vip_ranges
        }
    };
    let keep = KeptRanges::new(boot, ranges);
    if let Err(error) = file.write(|out| Ok(serde_json::to_writer(out, &keep)?)) {
        warn!(error = %error_chain(&error), "the VIP range may move when mesh.vip_cidr is changed");
    }
    Ok(ranges)
}

/// The ranges that commands about this boot are about: those that it began with, else the configured ones.
#[must_use]
pub fn of_this_boot(mesh: &MeshSettings, paths: &Paths) -> VipRanges {
    let boot = boot_id(&paths.boot_id).ok();
    boot.and_then(|boot| kept(&file(paths), &boot)).unwrap_or(mesh.vip_ranges)
}

async fn first(ranges: VipRanges, paths: &Paths) -> Result<(), RangeError> {
    let range = ranges.v4();
    match overlapping(range, &others(range, paths).await) {
        Some(other) => Err(RangeError::Taken { range, other: other.clone() }),
        None => Ok(()),
    }
}

/// The range of a release that kept none, where it has begun this boot.
fn adopted(configured: VipRanges) -> Option<VipRanges> {
    let addresses = nix::ifaddrs::getifaddrs().ok()?;
    let addresses: Vec<IpAddr> =
        addresses.filter_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip()))).collect();
    let former = VipRanges::new(VipCidr::former_default(), configured.get(Family::V6))?;
    is_held_by_a_former_agent(former.v4(), &addresses).then_some(former)
}

fn file(paths: &Paths) -> StateFile {
    StateFile::new(&paths.state_dir, FILE, MAX_FILE)
}

/// The ranges that this boot began with, where that is known.
fn kept(file: &StateFile, boot: &str) -> Option<VipRanges> {
    let bytes = file.read().unwrap_or_else(|error| {
        warn!(error = %error_chain(&error), "the VIP range of this boot is not known");
        None
    })?;
    match serde_json::from_slice::<KeptRanges>(&bytes) {
        Ok(kept) => kept.of_boot(boot),
        Err(error) => {
            warn!(%error, path = %file.path().display(), "the saved VIP range is damaged and counts for nothing");
            None
        }
    }
}

#[cfg(test)]
mod tests;
