//! The desired state as people look at it: for status, metrics and `explain`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;

use super::{Alias, AliasName, AppProtocol, Endpoint, Frontend, L4, Ruleset, ServiceId, State};

/// Everything that is wanted of this node, as one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// What the kernel is to hold.
    pub ruleset: Arc<Ruleset>,
    /// What DNS answers.
    pub names: OrdMap<AliasName, Ipv4Addr>,
    /// Every known service; one that is offered over both transports stands here twice.
    pub services: OrdMap<(ServiceId, L4), Arc<ServiceView>>,
    /// Which service stands behind each frontend of the ruleset.
    pub served: OrdMap<Frontend, ServiceId>,
    /// Aliases that more than one service claims.
    pub conflicts: Arc<[Conflict]>,
}

/// A service as seen from this node.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Its VIP; `None` where it cannot be dialled from here.
    pub vip: Option<Ipv4Addr>,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// What clients dial, sorted.
    pub aliases: Vec<Alias>,
    /// Its endpoints in the order of their ids.
    pub endpoints: Vec<EndpointView>,
    /// How many slots the endpoints share; with none, the VIP refuses.
    pub slots: usize,
    /// Why it refuses or cannot be dialled from here, for people.
    pub why: Option<Arc<str>>,
}

/// An endpoint as seen from this node.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its state, ejection considered.
    pub state: State,
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
