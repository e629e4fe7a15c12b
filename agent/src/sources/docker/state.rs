//! What runs, from lists, inspections and events, in whatever order they arrive. Pure.
//!
//! An inspection takes time, and events overtake it. So each carries a ticket, only the answer to a container's latest
//! ticket counts, and what events said in between is laid over it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use self::look::Look;
pub(super) use self::look::{Drift, DriftKind};
use super::budget::Budget;
use super::events::DockerEvent;
use super::history::History;
use super::inspect::{Attachment, Inspected, Ports};
use super::listed::Listed;
use super::signal::Signal;
use crate::model::{Container, ContainerId, Containers, DockerHealth, IfName, Network};
use crate::sources::offers::name_costs;
use crate::sources::{STOP_BELIEVED, ecs};

mod look;
mod pasts;
mod room;

/// The label that Docker writes over a `kill` event's `signal` attribute: attributes and labels share one map.
const SIGNAL_LABEL: &str = "signal";

/// A question to Docker or to the ECS agent. The answer comes back with the ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Inspect this container.
    Inspect(ContainerId, u64),
    /// List the bridge networks.
    Bridges(u64),
    /// Where does Docker keep its files?
    Root,
    /// Which ports does this host-network container of an ECS task use?
    Ports(ContainerId, u64),
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct DockerState {
    entries: HashMap<ContainerId, ContainerEntry>,
    bridges: BTreeMap<String, IfName>,
    /// The latest ticket for the bridges, and whether any has been answered.
    bridges_asked: u64,
    bridges_known: bool,
    tickets: u64,
    /// Containers of the first list that have not been answered yet; `None` before that list.
    awaited: Option<HashSet<ContainerId>>,
    /// When a stop that has begun is no longer believed in.
    deadlines: BTreeSet<(Instant, ContainerId)>,
    look: Look,
    budget: Budget,
    history: History,
    /// Whether labels that are baked into an image count.
    image_labels: bool,
    /// What is to be asked besides what the caller is told of.
    further: Vec<Ask>,
    /// Containers with services that the budget has no room for, as far as nobody has been told: how many.
    refused: Vec<(ContainerId, usize)>,
    snapshot: Containers,
    changed: bool,
}

/// One container.
#[derive(Debug, Default)]
struct ContainerEntry {
    ticket: u64,
    asked: Option<Instant>,
    inspected: Option<Inspected>,
    /// What events said since the last inspection was asked for.
    health: Option<DockerHealth>,
    paused: Option<bool>,
    /// Signals sent in this life, each with the latest time.
    kills: BTreeMap<Signal, Instant>,
    /// Ports that the ECS agent named.
    ports: Option<Ports>,
    /// Inspections that failed since the last that did not.
    failed: u32,
    /// Whether the latest inspection has not been answered.
    open: bool,
    /// The digest of what Docker's list said last; `None` where events have told something since.
    listed: Option<u64>,
}

impl ContainerEntry {
    /// Whether the ECS agent is to be asked for its ports, and has not said.
    fn wants_ports(&self) -> bool {
        let asked_for = |inspected: &Inspected| {
            matches!(inspected.attachment, Attachment::Host(_)) && inspected.labels.contains_key(ecs::LABEL_TASK)
        };
        self.ports.is_none() && self.inspected.as_ref().is_some_and(asked_for)
    }

    /// Whether all that is known of it stands in the list, too.
    fn agrees(&self, listed: &Listed) -> bool {
        self.inspected.as_ref().is_some_and(|inspected| {
            let (health, paused) = (self.health.unwrap_or(inspected.health), self.paused.unwrap_or(inspected.paused));
            listed.agrees(inspected, health, paused)
        })
    }

    /// Whether it is after a reconnection what it was before. Events may be missing, so that a life must show in the list.
    fn outlived(&self, listed: &Listed) -> bool {
        let same = self.listed == Some(listed.digest) && listed.has_network;
        same && !self.open && !self.wants_ports() && self.agrees(listed)
    }

    /// Until when a stop that has begun is believed in.
    fn stops_until(&self, inspected: &Inspected) -> Option<Instant> {
        let unreadable = inspected.labels.contains_key(SIGNAL_LABEL);
        let begun =
            self.kills.iter().filter(|(s, _)| unreadable || **s == inspected.stop_signal || **s == Signal::KILL);
        begun.map(|(_, at)| *at + STOP_BELIEVED).max()
    }
}

impl DockerState {
    /// A new connection's list of what runs. What is not in it is gone; what is in it as it was before is not looked at
    /// again.
    pub(super) fn listed(&mut self, list: Vec<Listed>, now: Instant) -> Vec<Ask> {
        self.look.end();
        let ids: HashSet<&ContainerId> = list.iter().map(|listed| &listed.id).collect();
        let gone: Vec<ContainerId> = self.entries.keys().filter(|id| !ids.contains(id)).cloned().collect();
        for id in gone {
            self.forget(&id);
        }
        let mut asks = Vec::new();
        let mut asked = HashSet::new();
        for listed in list {
            let entry = self.entries.entry(listed.id.clone()).or_default();
            let unchanged = entry.outlived(&listed);
            entry.listed = Some(listed.digest);
            if !unchanged && asked.insert(listed.id.clone()) {
                asks.push(self.ask(listed.id, now));
            }
        }
        if self.awaited.as_ref().is_none_or(|awaited| !awaited.is_empty()) {
            self.awaited = Some(asked);
            self.changed = true;
        }
        asks
    }

    /// An event; what to ask because of it.
    pub(super) fn apply(&mut self, event: DockerEvent, now: Instant) -> Option<Ask> {
        if let Some(id) = event.container() {
            self.look.told(id);
            if let Some(entry) = self.entries.get_mut(id) {
                entry.listed = None;
            }
        }
        match event {
            DockerEvent::Started(id) => {
                // A new life: nothing that was said of the last one holds, but what was seen stands until the answer.
                let entry = self.entries.entry(id.clone()).or_default();
                entry.kills.clear();
                entry.ports = None;
                Some(self.ask(id, now))
            }
            DockerEvent::Killed(id, signal) => {
                let entry = self.entries.get_mut(&id)?;
                // Docker not saying which signal it was is taken for the one that ends containers.
                entry.kills.insert(signal.unwrap_or(Signal::KILL), now);
                self.refresh(&id, now);
                None
            }
            DockerEvent::Died(id, _) | DockerEvent::Gone(id) => {
                self.forget(&id);
                None
            }
            DockerEvent::Starved(_) => None,
            DockerEvent::Health(id, health) => {
                let entry = self.entries.get_mut(&id)?;
                entry.health = Some(health);
                self.refresh(&id, now);
                None
            }
            DockerEvent::Paused(id, paused) => {
                let entry = self.entries.get_mut(&id)?;
                entry.paused = Some(paused);
                self.refresh(&id, now);
                None
            }
            DockerEvent::Changed(id) => self.entries.contains_key(&id).then(|| self.ask(id, now)),
            DockerEvent::Networks => Some(self.ask_bridges()),
        }
    }

    /// An inspection's answer; `None`: it does not run. What to ask because of it.
    pub(super) fn inspected(
        &mut self,
        id: &ContainerId,
        ticket: u64,
        inspected: Option<Inspected>,
        now: Instant,
    ) -> Option<Ask> {
        let entry = self.entries.get_mut(id).filter(|entry| entry.ticket == ticket)?;
        entry.open = false;
        let Some(inspected) = inspected else {
            self.forget(id);
            return None;
        };
        // Another life than the one seen last, whose start was missed: only signals since the question can be for it.
        if entry.inspected.as_ref().is_some_and(|last| last.started_ms != inspected.started_ms) {
            let asked = entry.asked;
            entry.kills.retain(|_, at| asked.is_some_and(|asked| *at >= asked));
        }
        let moved = entry.inspected.as_ref().is_some_and(|last| last.attachment != inspected.attachment);
        entry.inspected = Some(inspected);
        entry.failed = 0;
        let wants_ports = entry.wants_ports();
        self.changed |= self.snapshot.unseen.remove(id).is_some();
        self.answered(id);
        self.refresh(id, now);
        if moved {
            self.ask_joined(id, now);
        }
        wants_ports.then(|| Ask::Ports(id.clone(), ticket))
    }

    /// An inspection failed. What was known stands; what to ask after a while, and the how many-th failure in a row it is.
    pub(super) fn not_inspected(&mut self, id: &ContainerId, ticket: u64, now: Instant) -> Option<(Ask, u32)> {
        let entry = self.entries.get_mut(id).filter(|entry| entry.ticket == ticket)?;
        entry.failed = entry.failed.saturating_add(1);
        let failed = entry.failed;
        if entry.inspected.is_none() {
            self.changed |= self.snapshot.unseen.insert(id.clone()).is_none();
        }
        // One container that cannot be inspected must not hold up all the others.
        self.answered(id);
        Some((self.ask(id.clone(), now), failed))
    }

    /// The ECS agent named a container's ports.
    pub(super) fn ports(&mut self, id: &ContainerId, ticket: u64, ports: Ports, now: Instant) {
        if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.ticket == ticket) {
            entry.ports = Some(ports);
            self.refresh(id, now);
        }
    }

    /// Where Docker keeps its files. Nothing waits for it: without, no hosts file is known, and all else works.
    pub(super) fn root(&mut self, root: Arc<Path>, now: Instant) {
        if self.snapshot.root.as_ref() == Some(&root) {
            return;
        }
        self.snapshot.root = Some(root);
        self.changed = true;
        self.refresh_all(now);
    }

    /// The bridge networks, by id.
    pub(super) fn bridges(&mut self, ticket: u64, bridges: BTreeMap<String, IfName>, now: Instant) {
        if ticket != self.bridges_asked {
            return;
        }
        self.changed |= !self.bridges_known;
        self.bridges_known = true;
        if bridges == self.bridges {
            return;
        }
        self.bridges = bridges;
        self.snapshot.bridges = self.bridges.values().cloned().collect();
        self.changed = true;
        self.refresh_all(now);
    }

    /// Nothing yet; `image_labels`: whether labels that are baked into an image count.
    pub(super) fn new(image_labels: bool) -> Self {
        Self { image_labels, ..Self::default() }
    }

    /// When [`Self::expire`] or [`Self::drifted`] has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(self.judged_at()).min()
    }

    /// Stops that have not come about by now are no longer believed in.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.pop_first() {
            if at > now {
                self.deadlines.insert((at, id));
                return;
            }
            self.refresh(&id, now);
        }
    }

    /// The snapshot to publish, if it is whole and differs from the one taken last.
    pub(super) fn take(&mut self) -> Option<Containers> {
        let whole = self.bridges_known && self.awaited.as_ref().is_some_and(HashSet::is_empty);
        if whole && self.changed {
            self.settle_budget();
        }
        (whole && std::mem::take(&mut self.changed)).then(|| self.snapshot.clone())
    }

    /// What is to be asked besides what was returned.
    pub(super) fn further(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.further)
    }

    /// Who shares a container's network shares what has become of it.
    fn ask_joined(&mut self, owner: &ContainerId, now: Instant) {
        let joins =
            |entry: &ContainerEntry| entry.inspected.as_ref().is_some_and(|i| i.hosts.joins.as_ref() == Some(owner));
        let joined: Vec<ContainerId> =
            self.entries.iter().filter(|(_, entry)| joins(entry)).map(|(id, _)| id.clone()).collect();
        for id in joined {
            let ask = self.ask(id, now);
            self.further.push(ask);
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn ask(&mut self, id: ContainerId, now: Instant) -> Ask {
        let ticket = self.ticket();
        let entry = self.entries.entry(id.clone()).or_default();
        (entry.ticket, entry.asked, entry.open) = (ticket, Some(now), true);
        // The answer will know of everything before this; until then what events said is part of what was seen.
        if let Some(inspected) = &mut entry.inspected {
            inspected.health = entry.health.unwrap_or(inspected.health);
            inspected.paused = entry.paused.unwrap_or(inspected.paused);
        }
        (entry.health, entry.paused) = (None, None);
        Ask::Inspect(id, ticket)
    }

    /// The bridges are to be listed again.
    pub(super) fn ask_bridges(&mut self) -> Ask {
        self.bridges_asked = self.ticket();
        Ask::Bridges(self.bridges_asked)
    }

    fn answered(&mut self, id: &ContainerId) {
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(id);
        }
    }

    fn forget(&mut self, id: &ContainerId) {
        self.entries.remove(id);
        self.budget.release(id);
        self.answered(id);
        self.changed |= self.snapshot.running.remove(id).is_some() | self.snapshot.unseen.remove(id).is_some();
    }

    fn refresh_all(&mut self, now: Instant) {
        let ids: Vec<ContainerId> = self.entries.keys().cloned().collect();
        for id in ids {
            self.refresh(&id, now);
        }
    }

    /// Brings one container of the snapshot up to date.
    fn refresh(&mut self, id: &ContainerId, now: Instant) {
        let Some(entry) = self.entries.get(id) else { return };
        let Some(inspected) = &entry.inspected else { return };
        let until = entry.stops_until(inspected).filter(|until| *until > now);
        if let Some(until) = until {
            self.deadlines.insert((until, id.clone()));
        }
        let mut network = inspected.attachment.resolve(&self.bridges);
        if let (Network::Host { ports }, Some(named)) = (&mut network, &entry.ports) {
            *ports = named.clone();
        }
        let costs = match network {
            Network::Unsupported(_) => Arc::default(),
            Network::Bridge { .. } | Network::Host { .. } => {
                name_costs(&inspected.labels, &inspected.baked, self.image_labels)
            }
        };
        self.budget.want(id, inspected.started_ms, costs);
        let container = Container {
            id: inspected.id.clone(),
            name: inspected.name.clone(),
            image: inspected.image.clone(),
            labels: inspected.labels.clone(),
            baked: inspected.baked.clone(),
            admitted: self.budget.admitted(id),
            network,
            addresses: inspected.attachment.addresses(&self.bridges),
            bridges: inspected.attachment.bridges(&self.bridges),
            own_dns: inspected.own_dns,
            hosts: inspected.hosts.resolve(id, self.snapshot.root.as_deref()),
            health: entry.health.unwrap_or(inspected.health),
            started_ms: inspected.started_ms,
            stopping: until.is_some(),
            paused: entry.paused.unwrap_or(inspected.paused),
        };
        if self.snapshot.running.get(id).is_none_or(|published| **published != container) {
            self.snapshot.running.insert(id.clone(), Arc::new(container));
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests;
