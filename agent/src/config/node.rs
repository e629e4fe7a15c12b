//! Who this node is: the user's settings merged with what the host says. Pure.
//!
//! What the user gives wins; then what the host's API says; then the instance metadata service; then the kernel. The
//! host's API may be away: the node is then named and addressed without it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bottlerocket_settings as bottlerocket;

use super::{Auto, NodeSettings};
use crate::watch::Node;

/// Longest name (host, cluster, zone, version) that is believed, in bytes.
const MAX_NAME: usize = 255;

/// What is known of the host, by who says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The host's API; the last it said.
    pub host: HostFacts,
    /// The instance metadata service.
    pub instance: InstanceFacts,
    /// The kernel.
    pub kernel: KernelFacts,
}

/// What the host's API says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `settings.network.hostname`
    pub hostname: Option<Arc<str>>,
    /// `settings.ecs.cluster`
    pub cluster: Option<Arc<str>>,
    /// `/os` `version_id`
    pub os_version: Option<Arc<str>>,
    /// The IPv4 ones of `settings.dns.name-servers`.
    pub resolvers: Vec<Ipv4Addr>,
    /// Whether it is an AWS host, which has an instance metadata service: it has a region, or a variant `aws-…`.
    pub aws: bool,
}

impl HostFacts {
    /// Reads the facts out of the host's settings and its OS. Values that cannot be true (empty, too long, unprintable)
    /// count as absent.
    #[must_use]
    pub fn new(settings: bottlerocket::Settings, os: bottlerocket::Os) -> Self {
        let region = settings.aws.and_then(|aws| aws.region).is_some_and(|region| !region.is_empty());
        let servers = settings.dns.and_then(|dns| dns.name_servers).unwrap_or_default();
        Self {
            hostname: settings.network.and_then(|network| network.hostname).and_then(believable),
            cluster: settings.ecs.and_then(|ecs| ecs.cluster).and_then(believable),
            os_version: os.version_id.and_then(believable),
            resolvers: servers.into_iter().filter_map(ipv4).collect(),
            aws: region || os.variant_id.is_some_and(|variant| variant.starts_with("aws-")),
        }
    }
}

/// What the instance metadata service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFacts {
    /// `local-ipv4`
    pub address: Option<Ipv4Addr>,
    /// `placement/availability-zone`
    pub zone: Option<Arc<str>>,
}

/// What the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelFacts {
    /// Its hostname.
    pub hostname: Option<Arc<str>>,
    /// The address that packets along the default route leave with.
    pub address: Option<Ipv4Addr>,
}

/// Why there is no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Nobody knows its address.
    #[error("this node's address is not known: there is no default route; set node.advertise")]
    Address,
    /// Nobody knows its name.
    #[error("this node's name is not known; set settings.network.hostname on the host")]
    Name,
}

/// This node.
///
/// # Errors
/// [`Unknown`] where neither the user nor anyone on the host knows its address or its name.
pub fn merge(settings: &NodeSettings, facts: &Facts) -> Result<Node, Unknown> {
    let Facts { host, instance, kernel } = facts;
    let address = match settings.advertise {
        Auto::Set(address) => address,
        Auto::Auto => instance.address.or(kernel.address).ok_or(Unknown::Address)?,
    };
    let zone = match &settings.zone {
        Auto::Set(zone) => zone.clone(),
        Auto::Auto => instance.zone.clone(),
    };
    Ok(Node {
        name: host.hostname.clone().or_else(|| kernel.hostname.clone()).ok_or(Unknown::Name)?,
        address,
        zone,
        cluster: host.cluster.clone(),
        os_version: host.os_version.clone(),
        resolvers: host.resolvers.as_slice().into(),
    })
}

/// The text, unless no such name can exist.
#[must_use]
pub fn believable(text: String) -> Option<Arc<str>> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.into())
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
