//! Who this node is: the user's settings merged with what the host says. Pure.
//!
//! What the user gives wins; then what the host's API says; then the instance metadata service; then the kernel. The
//! host's API may be away: the node is then named and addressed without it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bottlerocket_settings as bottlerocket;

use crate::config::{Auto, NodeSettings};
use crate::model::{HOSTS_BEGIN, HOSTS_END, Node, untrusted};

/// The most names of a hosts file that are kept.
const MAX_HOSTS: usize = 1024;

/// What is known of the host, by who says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeFacts {
    /// The host's API; the last it said.
    pub(super) host: HostFacts,
    /// The instance metadata service.
    pub(super) instance: InstanceFacts,
    /// The kernel.
    pub(super) kernel: KernelFacts,
}

/// What the host's API says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// `settings.network.hostname`
    pub(super) hostname: Option<Arc<str>>,
    /// `/os` `version_id`
    pub(super) os_version: Option<Arc<str>>,
    /// Whether it is an AWS host, which has an instance metadata service: it has a region, or a variant `aws-…`.
    pub(super) aws: bool,
}

impl HostFacts {
    /// Reads the facts out of the host's settings and its OS. Values that cannot be true (empty, too long, unprintable)
    /// count as absent.
    #[must_use]
    pub(super) fn new(settings: bottlerocket::Settings, os: bottlerocket::Os) -> Self {
        let region = settings.aws.and_then(|aws| aws.region).is_some_and(|region| !region.is_empty());
        Self {
            hostname: settings.network.and_then(|network| network.hostname).and_then(|text| untrusted::name(&text)),
            os_version: os.version_id.and_then(|text| untrusted::name(&text)),
            aws: region || os.variant_id.is_some_and(|variant| variant.starts_with("aws-")),
        }
    }
}

/// What the instance metadata service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct InstanceFacts {
    /// `local-ipv4`
    pub(super) address: Option<IpAddr>,
    /// `placement/availability-zone`
    pub(super) zone: Option<Arc<str>>,
}

/// What the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KernelFacts {
    /// Its hostname.
    pub(super) hostname: Option<Arc<str>>,
    /// The address that packets along the default route leave with.
    pub(super) address: Option<IpAddr>,
    /// Names in the host's own hosts file.
    pub(super) hosts: Arc<[Box<str>]>,
}

/// Why there is no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
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
pub(super) fn merge(settings: &NodeSettings, facts: &NodeFacts) -> Result<Node, Unknown> {
    let NodeFacts { host, instance, kernel } = facts;
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
        os_version: host.os_version.clone(),
        hosts: kernel.hosts.clone(),
    })
}

/// The names in the text of a hosts file (hosts(5)): at most [`MAX_HOSTS`], each once. Without those that the agent wrote
/// there: it may itself run in a container whose hosts file Docker keeps.
pub(super) fn names_of_hosts(text: &str) -> Arc<[Box<str>]> {
    let mut ours = false;
    let others = text.lines().filter(|line| {
        ours = (ours || *line == HOSTS_BEGIN) && *line != HOSTS_END;
        !ours
    });
    let lines = others.map(|line| line.split('#').next().unwrap_or_default());
    let names: BTreeSet<&str> = lines.flat_map(|line| line.split_ascii_whitespace().skip(1)).take(MAX_HOSTS).collect();
    names.into_iter().map(Box::from).collect()
}

#[cfg(test)]
mod tests;
