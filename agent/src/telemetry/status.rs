//! `GET /status`: the node, its services and its parts as one JSON object. [`build`] is pure; the same types are read
//! back by the command line.
//!
//! A large mesh has megabytes to say, so the answer is written service by service and never stands in memory but as text.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize, Serializer};

use super::inputs::{Snapshot, Sources};
use crate::model::{
    BudgetUse, Conflict, Desired, DesiredEndpoint, DesiredService, Family, IfName, ServiceId, SocketAddrs, Source,
    SourceState,
};
use crate::update::summary;
pub use crate::update::summary::UpdateStatus;

/// The whole answer. `S`: the services, as they are read, or as [`Services`] still to be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status<S = Vec<ServiceStatus>> {
    /// Who this node is.
    pub node: NodeStatus,
    /// Whether every part has had its first word and the kernel holds what is desired.
    pub ready: bool,
    /// What is still waited for; absent when ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<Arc<str>>,
    /// What the agent depends on.
    pub sources: Sources<SourceStatus>,
    /// The services that can be dialled here, by namespace and name.
    pub services: S,
    /// Aliases that more than one service asked for; absent when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<ConflictStatus>,
    /// The kernel's side.
    pub dataplane: DataplaneStatus,
    /// How names are answered.
    pub names: NamesStatus,
    /// How much of the node's budget the labels of its containers use.
    #[serde(default)]
    pub budget: BudgetStatus,
    /// The node's own update.
    pub update: UpdateStatus,
}

/// Who this node is; all `null` but the version until the host has said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Host name.
    pub name: Option<Arc<str>>,
    /// Its address for other nodes.
    pub address: Option<IpAddr>,
    /// Its availability zone, where it has one.
    pub zone: Option<Arc<str>>,
    /// The agent's version.
    pub version: Arc<str>,
}

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// `starting`, `up`, `down` or `off`.
    pub state: Arc<str>,
    /// Since when (RFC 3339, UTC, milliseconds).
    pub since: Timestamp,
    /// Why, when it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
}

/// Services that are put into the form of [`ServiceStatus`] one by one, when they are written.
#[derive(Debug, Clone, Copy)]
pub struct Services<'a>(&'a Desired);

impl Serialize for Services<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.services.iter().map(|((id, _), desired)| service(id, desired)))
    }
}

/// A service over one transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its discovery name.
    pub name: Arc<str>,
    /// `tcp`, `udp`, `http`, `http2` or `grpc`.
    pub protocol: Arc<str>,
    /// Its virtual address on this node.
    pub vip: Option<IpAddr>,
    /// Its virtual IPv6 address, where it has one.
    pub vip6: Option<IpAddr>,
    /// What clients dial.
    pub aliases: Vec<AliasStatus>,
    /// Why it refuses or is not dialled here, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
    /// Who serves it.
    pub endpoints: Vec<EndpointStatus>,
}

/// What clients dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasStatus {
    /// The DNS name.
    pub name: Arc<str>,
    /// The port.
    pub port: u16,
}

/// One `address:port` behind a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its id within the service.
    pub id: Arc<str>,
    /// Where this node's connections go.
    pub address: SocketAddr,
    /// Where other nodes' connections go, where they can.
    #[serde(default)]
    pub published: Option<SocketAddr>,
    /// The node it runs on.
    pub node: Arc<str>,
    /// That node's availability zone, where it has one.
    pub zone: Option<Arc<str>>,
    /// The ECS task or the lone container.
    pub task: Arc<str>,
    /// `starting`, `healthy`, `unhealthy`, `ejected` or `draining`.
    pub state: Arc<str>,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Its weight, 1 to 100.
    pub weight: u8,
    /// Its part of the service's connections on this node, 0 to 1.
    pub share: f64,
}

/// Two services asked for one alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictStatus {
    /// `name:port`.
    pub alias: Arc<str>,
    /// The service that keeps it.
    pub owner: Arc<str>,
    /// The service that does without it.
    pub loser: Arc<str>,
}

/// The kernel's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataplaneStatus {
    /// What programs the kernel.
    pub backend: Arc<str>,
    /// How many network namespaces hold our tables.
    pub namespaces: u32,
    /// Whether the kernel holds what is desired.
    pub in_sync: bool,
    /// How long the last apply took, in milliseconds.
    pub last_apply_ms: f64,
    /// How often foreign changes were undone.
    pub repairs: u64,
    /// Networks whose containers cannot connect to those of another, or of their own: services there refuse them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed_roads: Vec<ClosedRoad>,
}

/// A network whose containers cannot connect to those of another, or of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedRoad {
    /// The clients' bridge.
    pub from: Arc<str>,
    /// The servers' bridge.
    pub to: Arc<str>,
    /// What is in the way.
    pub why: Arc<str>,
}

/// How names are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// How many of containers' hosts files tell mesh names.
    #[serde(default)]
    pub hosts_files: usize,
    /// The agent's resolver: `off` (`dns.capture` is false), `starting`, `failing`, `listening` (containers' queries go
    /// to their own name servers), `answering in part` (from some networks, or by one transport, they come here), or
    /// `answering` (they come here).
    pub dns: Arc<str>,
    /// Why, when it is failing, or what is in the way of queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
    /// The name servers whose queries from containers are answered here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
}

/// How much of the node's budget the labels of its containers use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// Names that they ask for and were given.
    pub names: usize,
    /// The most that they are given.
    pub limit: usize,
    /// Services that are left out for want of room.
    pub refused: usize,
}

/// The status of one moment.
#[must_use]
pub fn build(now: &Snapshot) -> Status<Services<'_>> {
    let waiting_for = now.waiting_for();
    let node = now.node.as_ref();
    Status {
        node: NodeStatus {
            name: node.map(|node| Arc::clone(&node.name)),
            address: node.map(|node| node.address),
            zone: node.and_then(|node| node.zone.clone()),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        ready: waiting_for.is_empty(),
        waiting_for: waiting_for.into_iter().map(Arc::from).collect(),
        sources: now.sources.map(|source| SourceStatus::from(source)),
        services: Services(&now.desired),
        conflicts: now.desired.conflicts.iter().map(ConflictStatus::from).collect(),
        dataplane: DataplaneStatus {
            backend: now.dataplane.backend().into(),
            namespaces: u32::try_from(now.dataplane.namespaces.len()).unwrap_or(u32::MAX),
            in_sync: now.dataplane.in_sync(),
            last_apply_ms: now.dataplane.last_apply().unwrap_or_default().as_secs_f64() * 1000.0,
            repairs: now.dataplane.repairs(),
            closed_roads: now.closed_roads.iter().map(closed_road).collect(),
        },
        names: NamesStatus {
            hosts_files: now.hosts.written(),
            dns: now.resolver.as_str().into(),
            why: now.resolver.why().map(Arc::from),
            servers: now.name_servers.containers.iter().map(SocketAddr::ip).collect(),
        },
        budget: BudgetStatus::from(now.budget()),
        update: update(now),
    }
}

fn closed_road(((from, to), why): (&(IfName, IfName), &Arc<str>)) -> ClosedRoad {
    ClosedRoad { from: from.as_str().into(), to: to.as_str().into(), why: Arc::clone(why) }
}

/// Where the node's update stands. What runs is known of the node even where nobody looks after its updates.
#[must_use]
pub fn update(now: &Snapshot) -> UpdateStatus {
    let status = summary::status(&now.update, now.now);
    let running = status.running.clone().or_else(|| now.node.as_ref()?.os_version.clone());
    UpdateStatus { running, ..status }
}

/// A service's part of the status.
#[must_use]
pub fn service(id: &ServiceId, desired: &DesiredService) -> ServiceStatus {
    ServiceStatus {
        namespace: id.namespace.as_str().into(),
        name: id.name.as_str().into(),
        protocol: desired.protocol.to_string().into(),
        vip: desired.vips.and_then(|vips| vips.get(Family::V4)),
        vip6: desired.vips.and_then(|vips| vips.get(Family::V6)),
        aliases: desired
            .aliases
            .iter()
            .map(|alias| AliasStatus { name: alias.name.as_str().into(), port: alias.port.get() })
            .collect(),
        why: desired.why.clone(),
        endpoints: desired.endpoints.iter().map(EndpointStatus::from).collect(),
    }
}

impl From<&DesiredEndpoint> for EndpointStatus {
    fn from(desired: &DesiredEndpoint) -> Self {
        let endpoint = &desired.endpoint;
        Self {
            id: endpoint.id.as_str().into(),
            address: endpoint.addresses.first(),
            published: endpoint.addresses.published().map(SocketAddrs::first),
            node: Arc::clone(&endpoint.node),
            zone: endpoint.zone.clone(),
            task: Arc::clone(&endpoint.task),
            state: desired.state.as_str().into(),
            reason: Arc::clone(&desired.reason),
            weight: endpoint.weight.get(),
            share: desired.share,
        }
    }
}

impl From<BudgetUse> for BudgetStatus {
    fn from(BudgetUse { names, limit, refused }: BudgetUse) -> Self {
        Self { names, limit, refused }
    }
}

impl From<&Conflict> for ConflictStatus {
    fn from(conflict: &Conflict) -> Self {
        Self {
            alias: conflict.alias.to_string().into(),
            owner: conflict.owner.to_string().into(),
            loser: conflict.loser.to_string().into(),
        }
    }
}

impl From<&Source> for SourceStatus {
    fn from(source: &Source) -> Self {
        let why = match &source.state {
            SourceState::Down(why) => Some(Arc::clone(why)),
            SourceState::Starting | SourceState::Up | SourceState::Off => None,
        };
        Self { state: source.state.as_str().into(), since: timestamp(source.since), why }
    }
}

/// A moment to the millisecond. One outside of what can be written (years -9999 to 9999) becomes the epoch.
fn timestamp(moment: SystemTime) -> Timestamp {
    let exact = Timestamp::try_from(moment).unwrap_or(Timestamp::UNIX_EPOCH);
    exact.round(Unit::Millisecond).unwrap_or(exact)
}

#[cfg(test)]
mod tests;
