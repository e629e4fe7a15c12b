//! What runs, from lists, inspections and events, in whatever order they arrive. Pure.
//!
//! An inspection takes time, and events overtake it. So each carries a ticket, only the answer to a container's latest
//! ticket counts, and what events said in between is laid over it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::events::DockerEvent;
use super::inspect::{Attachment, Inspected, Ports};
use super::signal::Signal;
use crate::model::{Container, ContainerId, Containers, DockerHealth, IfName, Network};
use crate::sources::STOP_BELIEVED;

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
}

impl ContainerEntry {
    /// Until when a stop that has begun is believed in.
    fn stops_until(&self, inspected: &Inspected) -> Option<Instant> {
        let unreadable = inspected.labels.contains_key(SIGNAL_LABEL);
        let begun =
            self.kills.iter().filter(|(s, _)| unreadable || **s == inspected.stop_signal || **s == Signal::KILL);
        begun.map(|(_, at)| *at + STOP_BELIEVED).max()
    }
}

impl DockerState {
    /// A new connection: the bridges are asked for again.
    pub(super) fn connected(&mut self) -> Ask {
        self.ask_bridges()
    }

    /// A whole list of what runs. What is not in it is gone.
    pub(super) fn listed(&mut self, ids: Vec<ContainerId>, now: Instant) -> Vec<Ask> {
        let listed: HashSet<&ContainerId> = ids.iter().collect();
        let gone: Vec<ContainerId> = self.entries.keys().filter(|id| !listed.contains(id)).cloned().collect();
        for id in gone {
            self.forget(&id);
        }
        if self.awaited.as_ref().is_none_or(|awaited| !awaited.is_empty()) {
            self.awaited = Some(ids.iter().cloned().collect());
            self.changed = true;
        }
        ids.into_iter().map(|id| self.ask(id, now)).collect()
    }

    /// An event; what to ask because of it.
    pub(super) fn apply(&mut self, event: DockerEvent, now: Instant) -> Option<Ask> {
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
            DockerEvent::Gone(id) => {
                self.forget(&id);
                None
            }
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
        let Some(inspected) = inspected else {
            self.forget(id);
            return None;
        };
        let wants_ports = entry.ports.is_none()
            && matches!(inspected.attachment, Attachment::Host(_))
            && inspected.labels.contains_key(crate::sources::ecs::LABEL_TASK);
        // Another life than the one seen last, whose start was missed: only signals since the question can be for it.
        if entry.inspected.as_ref().is_some_and(|last| last.started_ms != inspected.started_ms) {
            let asked = entry.asked;
            entry.kills.retain(|_, at| asked.is_some_and(|asked| *at >= asked));
        }
        entry.inspected = Some(inspected);
        entry.failed = 0;
        self.changed |= self.snapshot.unseen.remove(id).is_some();
        self.answered(id);
        self.refresh(id, now);
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

    /// When [`Self::expire`] has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
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
        (whole && std::mem::take(&mut self.changed)).then(|| self.snapshot.clone())
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn ask(&mut self, id: ContainerId, now: Instant) -> Ask {
        let ticket = self.ticket();
        let entry = self.entries.entry(id.clone()).or_default();
        (entry.ticket, entry.asked) = (ticket, Some(now));
        // The answer will know of everything before this; until then what events said is part of what was seen.
        if let Some(inspected) = &mut entry.inspected {
            inspected.health = entry.health.unwrap_or(inspected.health);
            inspected.paused = entry.paused.unwrap_or(inspected.paused);
        }
        (entry.health, entry.paused) = (None, None);
        Ask::Inspect(id, ticket)
    }

    fn ask_bridges(&mut self) -> Ask {
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
        let container = Container {
            id: inspected.id.clone(),
            name: inspected.name.clone(),
            image: inspected.image.clone(),
            labels: inspected.labels.clone(),
            baked: inspected.baked.clone(),
            network,
            addresses: inspected.attachment.addresses(&self.bridges),
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
