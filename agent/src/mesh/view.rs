//! What the mesh decided, as its readers take it: the dataplane takes the ruleset, DNS the names, telemetry the rest.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;

use super::Ruleset;
use crate::model::{Alias, AliasName, AppProtocol, Endpoint, L4, ServiceId, State};

/// One decision over one snapshot of the catalog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// What the kernel is to hold.
    pub ruleset: Arc<Ruleset>,
    /// Every name that can be resolved here, and the VIP it stands for.
    pub names: OrdMap<AliasName, Ipv4Addr>,
    /// Every service that can be dialled here, once for each transport it is offered over.
    pub services: OrdMap<(ServiceId, L4), Arc<ServiceView>>,
    /// Aliases that more than one service asked for.
    pub conflicts: Vec<Conflict>,
}

/// A service, for people: how it is dialled and who serves it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Its virtual address.
    pub vip: Ipv4Addr,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// What clients dial; aliases lost to another service are not among them.
    pub aliases: Vec<Alias>,
    /// All its endpoints, those that take no connections included.
    pub endpoints: Vec<EndpointView>,
    /// How many slots its connections are spread over; 0 refuses them.
    pub slots: usize,
    /// Why it refuses or is not dialled here, where that is so.
    pub why: Option<Arc<str>>,
}

/// An endpoint as it is balanced here.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    /// The endpoint as the catalog has it.
    pub endpoint: Arc<Endpoint>,
    /// Where it stands after ejection.
    pub state: State,
    /// Why it stands there.
    pub reason: Arc<str>,
    /// Its part of the service's connections, 0 to 1.
    pub share: f64,
}

/// Two services asked for one alias; the older one keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The alias.
    pub alias: Alias,
    /// Who keeps it.
    pub owner: ServiceId,
    /// Who does without it.
    pub loser: ServiceId,
}
