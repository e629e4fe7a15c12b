//! This node, as the rest of the agent knows it.

use std::net::IpAddr;
use std::sync::Arc;

/// Who this node is: the settings merged with what the host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Host name.
    pub name: Arc<str>,
    /// The address other nodes reach it at.
    pub address: IpAddr,
    /// Its availability zone.
    pub zone: Option<Arc<str>>,
    /// The OS's version (`/os` `version_id`).
    pub os_version: Option<Arc<str>>,
    /// Names in its own hosts file.
    pub hosts: Arc<[Box<str>]>,
}
