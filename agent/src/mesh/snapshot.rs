//! What the desired state is computed from.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::model::{Ejections, Endpoints, IfName, View};

/// What the desired state is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshSnapshot {
    /// Endpoints of every namespace that is known here.
    pub catalog: Endpoints,
    /// Endpoints avoided because connections to them failed.
    pub ejections: Ejections,
    /// This node's zone.
    pub zone: Option<Arc<str>>,
    /// The views that have clients.
    pub views: BTreeSet<View>,
    /// Docker's bridges.
    pub bridges: OrdSet<IfName>,
    /// Which bridges' clients cannot connect to which bridge's containers.
    pub closed: OrdSet<(IfName, IfName)>,
    /// Name servers whose queries from containers are captured, and the resolver's port for each.
    pub resolvers: OrdMap<IpAddr, u16>,
    /// The same for the host's own processes.
    pub host_resolvers: OrdMap<IpAddr, u16>,
    /// Addresses of containers whose queries are not captured.
    pub uncaptured: OrdSet<IpAddr>,
    /// The time, in seconds since the Unix epoch: for how long VIPs have not been used, and services had no endpoint.
    pub now: u64,
}

impl Default for MeshSnapshot {
    /// A node without endpoints, whose own clients are the only ones.
    fn default() -> Self {
        Self {
            catalog: Endpoints::default(),
            ejections: Ejections::default(),
            zone: None,
            views: BTreeSet::from([View::Node]),
            bridges: OrdSet::default(),
            closed: OrdSet::default(),
            resolvers: OrdMap::default(),
            host_resolvers: OrdMap::default(),
            uncaptured: OrdSet::default(),
            now: 0,
        }
    }
}
