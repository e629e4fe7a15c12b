//! Everything that telemetry reads, as receivers and as one snapshot of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::dataplane::DataplaneState;
use crate::model::{
    BudgetUse, CapturedServers, ClosedRoads, Container, ContainerId, Containers, Desired, Endpoints, Node, Offered,
    Past, Source,
};
use crate::names::dns::ResolverState;
use crate::names::hosts::HostsState;
use crate::update;
use crate::update::machine::{Now, State};

/// One value for each source that the agent depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources<T> {
    /// dockerd.
    pub docker: T,
    /// The Bottlerocket API.
    pub host_api: T,
    /// The registry.
    pub registry: T,
    /// The ECS agent's introspection API.
    pub ecs: T,
}

impl<T> Sources<T> {
    /// The same for each source.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Sources<U> {
        Sources { docker: f(&self.docker), host_api: f(&self.host_api), registry: f(&self.registry), ecs: f(&self.ecs) }
    }

    /// Each with the name it has in status and metrics.
    pub fn named(&self) -> [(&'static str, &T); 4] {
        [("docker", &self.docker), ("host_api", &self.host_api), ("registry", &self.registry), ("ecs", &self.ecs)]
    }
}

/// The receivers, one for each thing that telemetry reads. It never waits for any of them.
#[derive(Debug, Clone)]
pub struct TelemetryInputs {
    /// Who this node is; `None` until the settings are known.
    pub node: watch::Receiver<Option<Node>>,
    /// How the sources are doing.
    pub sources: Sources<watch::Receiver<Source>>,
    /// What Docker runs; `None` until its first full list.
    pub containers: watch::Receiver<Option<Containers>>,
    /// What each container offers, or why it does not.
    pub offered: watch::Receiver<Offered>,
    /// The catalog; `None` until the registry's first snapshot.
    pub catalog: watch::Receiver<Option<Endpoints>>,
    /// What the mesh decided; `None` until every source has given its first snapshot.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    /// How the dataplane is doing.
    pub dataplane: watch::Receiver<DataplaneState>,
    /// Between which bridges something drops connections.
    pub closed_roads: watch::Receiver<ClosedRoads>,
    /// How the resolver is doing.
    pub resolver: watch::Receiver<ResolverState>,
    /// The name servers whose queries are captured.
    pub name_servers: watch::Receiver<CapturedServers>,
    /// How containers' hosts files are.
    pub hosts: watch::Receiver<HostsState>,
    /// Where the node's update stands.
    pub update: watch::Receiver<Arc<State>>,
}

impl TelemetryInputs {
    /// Everything as it is now. Costs a few reference counts, whatever the size of the mesh.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.node.borrow().clone(),
            sources: self.sources.map(|source| source.borrow().clone()),
            containers: self.containers.borrow().clone(),
            catalog_given: self.catalog.borrow().is_some(),
            offered: self.offered.borrow().clone(),
            desired: self.desired.borrow().clone().unwrap_or_default(),
            dataplane: self.dataplane.borrow().clone(),
            closed_roads: self.closed_roads.borrow().clone(),
            resolver: self.resolver.borrow().clone(),
            name_servers: self.name_servers.borrow().clone(),
            hosts: self.hosts.borrow().clone(),
            update: Arc::clone(&self.update.borrow()),
            now: update::now(),
        }
    }
}

/// What [`TelemetryInputs`] held at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Who this node is.
    pub node: Option<Node>,
    /// How the sources are doing.
    pub sources: Sources<Source>,
    /// What Docker runs; `None` until its first full list.
    pub containers: Option<Containers>,
    /// Whether the registry has given its first catalog.
    pub catalog_given: bool,
    /// What each container offers, or why it does not.
    pub offered: Offered,
    /// What the mesh decided.
    pub desired: Arc<Desired>,
    /// How the dataplane is doing.
    pub dataplane: DataplaneState,
    /// Between which bridges something drops connections.
    pub closed_roads: ClosedRoads,
    /// How the resolver is doing.
    pub resolver: ResolverState,
    /// The name servers whose queries are captured.
    pub name_servers: CapturedServers,
    /// How containers' hosts files are.
    pub hosts: HostsState,
    /// Where the node's update stands.
    pub update: Arc<State>,
    /// The moment.
    pub now: Now,
}

impl Snapshot {
    /// The running containers.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().flat_map(|containers| containers.running.values()).map(|container| &**container)
    }

    /// Whether this container runs.
    #[must_use]
    pub fn runs(&self, id: &str) -> bool {
        self.containers.as_ref().is_some_and(|containers| containers.running.contains_key(id))
    }

    /// The moment in milliseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        u64::try_from(self.now.wall.as_millisecond()).unwrap_or_default()
    }

    /// How much of the node's budget the labels of its containers use.
    #[must_use]
    pub fn budget(&self) -> BudgetUse {
        self.containers.as_ref().map(|containers| containers.budget).unwrap_or_default()
    }

    /// What became lately of containers that ended or began here.
    pub fn pasts(&self) -> impl Iterator<Item = (&ContainerId, &Past)> {
        self.containers.iter().flat_map(|containers| containers.pasts.iter()).map(|(id, past)| (id, &**past))
    }

    /// What the node still waits for before it is ready; empty when it is.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let parts = [
            (self.node.is_some(), "the node's settings"),
            (self.containers.is_some(), "Docker's first list"),
            (self.catalog_given, "the registry's first snapshot"),
            (self.dataplane.in_sync(), "the dataplane"),
            (matches!(self.resolver, ResolverState::Off) || self.resolver.is_answering(), "the resolver"),
        ];
        parts.into_iter().filter(|(given, _)| !given).map(|(_, what)| what).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
