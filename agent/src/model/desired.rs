//! The desired state: what the mesh wants of this node, for the kernel, for names and for people.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use super::address::DualStack;
use super::endpoint::{Endpoint, EndpointState};
use super::name::{Alias, AliasName, ServiceId};
use super::ruleset::{Frontend, Ruleset, Rulesets, View};
use super::service::{AppProtocol, L4};

/// The mesh's names and the VIPs behind each. Cloning is cheap.
pub type Names = OrdMap<AliasName, DualStack>;

/// Everything that is wanted of this node, as one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// What the kernel is to hold for the clients of each view.
    pub rulesets: Rulesets,
    /// What names stand for.
    pub names: Names,
    /// Every known service; one that is offered over both transports stands here twice.
    pub services: OrdMap<(ServiceId, L4), Arc<DesiredService>>,
    /// Which known service has each VIP.
    pub holders: OrdMap<IpAddr, ServiceId>,
    /// Which service stands behind each frontend of the rulesets.
    pub served: OrdMap<Frontend, ServiceId>,
    /// Aliases that more than one service claims.
    pub conflicts: Arc<[Conflict]>,
}

impl Desired {
    /// What the kernel is to hold for the clients of a view; nothing where the view has none.
    #[must_use]
    pub fn ruleset(&self, view: View) -> Option<&Arc<Ruleset>> {
        self.rulesets.get(&view)
    }
}

/// A service as seen from this node.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredService {
    /// Its VIPs; `None` where it cannot be dialled from here.
    pub vips: Option<DualStack>,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// What clients dial, sorted.
    pub aliases: Vec<Alias>,
    /// Its endpoints in the order of their ids.
    pub endpoints: Vec<DesiredEndpoint>,
    /// How many slots the endpoints share; with none, the VIP refuses.
    pub slots: usize,
    /// Why it refuses or cannot be dialled from here, for people.
    pub why: Option<Arc<str>>,
}

/// An endpoint as seen from this node.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredEndpoint {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its state, ejection considered.
    pub state: EndpointState,
    /// Why it is in that state, for people.
    pub reason: Arc<str>,
    /// Its share of the service's new connections, 0 to 1.
    pub share: f64,
}

/// An alias that two services claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The alias.
    pub alias: Alias,
    /// The service that has it.
    pub owner: ServiceId,
    /// The service that does without.
    pub loser: ServiceId,
}
