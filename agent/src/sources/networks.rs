//! Who else holds addresses that this host can reach: routes of the kernel, networks of Docker among them, and the blocks
//! of its VPC.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bottlerocket_settings::Client;
use ipnet::{IpNet, Ipv4Net};
use procfs::ProcResult;
use procfs::net::RouteEntry;
use tokio::time::timeout;
use tracing::warn;

use super::host::vpc_blocks;
use crate::config::Paths;
use crate::model::{VipCidr, error_chain};

/// How long the host API and the metadata service together may take to name the VPC's blocks.
const VPC_ANSWER: Duration = Duration::from_secs(3);
/// Shorter routes are default routes in parts, as VPNs write them, and hold nobody in particular.
const SHORTEST: u8 = 8;

/// Somebody else's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherNetwork {
    /// The addresses.
    pub net: IpNet,
    /// Whose they are.
    pub holder: Holder,
}

/// Whose addresses they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A route by this interface; of Docker's networks it is their bridge.
    Route(String),
    /// The VPC of this instance.
    Vpc,
}

impl fmt::Display for OtherNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Holder::Route(interface) => write!(f, "{} is routed by {interface}", self.net),
            Holder::Vpc => write!(f, "{} is a block of this instance's VPC", self.net),
        }
    }
}

/// The first of the others whose addresses a range would take.
pub fn overlapping(range: VipCidr, others: &[OtherNetwork]) -> Option<&OtherNetwork> {
    others.iter().find(|other| {
        let (a, b) = (range.net(), other.net);
        // The agent's own vantages.
        let ours = b.prefix_len() == b.max_prefix_len() && range.reserved().contains(&b);
        !ours && (a.contains(&b.network()) || b.contains(&a.network()))
    })
}

/// The routes of this network namespace that lead to somebody in particular.
///
/// # Errors
/// The kernel does not show them.
pub fn routes() -> ProcResult<Vec<OtherNetwork>> {
    Ok(procfs::net::route()?.iter().filter_map(routed).collect())
}

fn routed(route: &RouteEntry) -> Option<OtherNetwork> {
    // The kernel's file has both in network order, and so has procfs.
    let bits = u8::try_from(u32::from(route.mask).leading_ones()).ok()?;
    let net = Ipv4Net::new(route.destination, bits).ok()?;
    (bits >= SHORTEST).then(|| OtherNetwork { net: net.into(), holder: Holder::Route(route.iface.clone()) })
}

/// Everybody whom a range of VIPs may not take addresses from. The VPC is asked for only where it can hold the range.
pub async fn others(range: VipCidr, paths: &Paths) -> Vec<OtherNetwork> {
    let mut others = routes().unwrap_or_else(|error| {
        warn!(error = %error_chain(&error), "cannot read the kernel's routes; the VIP range is not checked against them");
        Vec::new()
    });
    if !is_reserved(range) {
        others.extend(vpc(paths).await);
    }
    others
}

/// Whether no network outside of this host can hold these addresses: 240/4, reserved for future use (RFC 1112).
fn is_reserved(range: VipCidr) -> bool {
    matches!(range.net().network(), IpAddr::V4(first) if first >= Ipv4Addr::new(240, 0, 0, 0))
}

async fn vpc(paths: &Paths) -> Vec<OtherNetwork> {
    let asked = async { vpc_blocks(&Client::new(&paths.api_socket)?, paths.imds.clone()).await };
    let blocks = match timeout(VPC_ANSWER, asked).await {
        Ok(Ok(blocks)) => blocks,
        Ok(Err(error)) => {
            warn!(error = %error_chain(&error), "the VPC's blocks are not known; the VIP range is not checked against them");
            Vec::new()
        }
        Err(_) => {
            warn!("the VPC's blocks were not named within {VPC_ANSWER:?}; the VIP range is not checked against them");
            Vec::new()
        }
    };
    blocks.into_iter().map(|net| OtherNetwork { net, holder: Holder::Vpc }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(iface: &str, net: &str) -> RouteEntry {
        let net: Ipv4Net = net.parse().unwrap();
        RouteEntry {
            iface: iface.to_owned(),
            destination: net.network(),
            gateway: Ipv4Addr::UNSPECIFIED,
            flags: 1,
            refcnt: 0,
            in_use: 0,
            metrics: 0,
            mask: net.netmask(),
            mtu: 0,
            window: 0,
            irtt: 0,
        }
    }

    #[test]
    fn a_range_that_somebody_else_holds_is_named_with_its_holder() {
        let routes = [
            ("eth0", "0.0.0.0/0"),
            ("tun0", "128.0.0.0/1"),
            ("docker0", "172.17.0.0/16"),
            ("br-1234", "198.19.50.0/24"),
            ("eth1", "10.0.0.0/8"),
        ];
        let mut others: Vec<_> = routes.iter().filter_map(|(iface, net)| routed(&route(iface, net))).collect();
        others.push(OtherNetwork { net: "100.64.0.0/16".parse().unwrap(), holder: Holder::Vpc });
        let found = |range: &str| overlapping(range.parse().unwrap(), &others).map(ToString::to_string);
        assert_eq!(found("198.19.0.0/16").as_deref(), Some("198.19.50.0/24 is routed by br-1234"));
        assert_eq!(found("10.9.0.0/16").as_deref(), Some("10.0.0.0/8 is routed by eth1"));
        assert_eq!(found("100.64.0.0/10").as_deref(), Some("100.64.0.0/16 is a block of this instance's VPC"));
        assert_eq!(found("240.240.0.0/16"), None, "a default route, in parts or not, holds nobody");
    }

    #[test]
    fn the_default_range_is_nobodys() {
        assert!(is_reserved(VipCidr::default()) && !is_reserved("198.19.0.0/16".parse().unwrap()));
    }
}
