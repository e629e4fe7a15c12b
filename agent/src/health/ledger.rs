//! What is known of this node's endpoints, from containers, probes and what was remembered. Owns the probes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use imbl::ordmap::DiffItem;
use imbl::ordset::DiffItem as SetChange;
use imbl::{OrdMap, OrdSet};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::life::{DockerLife, Evidence, same_offers, state_of};
use super::probe::{self, ProbeReport, Probing, Turns};
use super::probe_state::ProbeState;
use super::recall::{self, Recalled};
use super::stops::Stops;
use crate::config::Settings;
use crate::model::{
    Container, ContainerId, Containers, Endpoint, EndpointKey, EndpointState, Endpoints, HealthCheck, Node, Offer,
    Offered, Offers,
};
use crate::sources::offers::offers;

/// Everything that is known, and what was last published.
#[derive(Debug)]
pub(super) struct Ledger {
    running: OrdMap<ContainerId, Arc<Container>>,
    /// Containers that run and cannot be looked at.
    unseen: OrdSet<ContainerId>,
    /// What the last start of the agent left of those that have not been looked at yet.
    recalled: Recalled,
    pub(super) offered: Offered,
    /// What is known of endpoints whose health is asked. Of the others, what is published is all there is to know.
    probed: HashMap<EndpointKey, Probed>,
    /// What Docker's health checks have said of containers.
    docker: HashMap<ContainerId, DockerLife>,
    stops: Stops,
    pub(super) endpoints: Endpoints,
    /// The reason that was given last: most are given many times over.
    reason: Arc<str>,
    /// Changes of state since the last snapshot: what to log once it is out.
    pub(super) changes: Vec<Arc<Endpoint>>,
    /// Whether there is something new to remember.
    pub(super) unsaved: bool,
    births: u64,
    /// Whose turn it is to probe, of each container that has probes.
    turns: HashMap<ContainerId, Turns>,
    all_turns: Arc<Semaphore>,
    report: mpsc::Sender<ProbeReport>,
}

/// One endpoint whose health is asked, from its container's start to its end.
#[derive(Debug)]
struct Probed {
    number: u64,
    check: HealthCheck,
    found: Option<(EndpointState, Arc<str>)>,
    /// Whether its last probe failed.
    silent: bool,
    _probe: AbortOnDropHandle<()>,
}

impl Ledger {
    /// Nothing is known yet. Probes report there.
    pub(super) fn new(report: mpsc::Sender<ProbeReport>) -> Self {
        Self {
            running: OrdMap::new(),
            unseen: OrdSet::new(),
            recalled: Recalled::default(),
            offered: Offered::new(),
            probed: HashMap::new(),
            docker: HashMap::new(),
            stops: Stops::default(),
            endpoints: Endpoints::new(),
            reason: Arc::default(),
            changes: Vec::new(),
            unsaved: false,
            births: 0,
            turns: HashMap::new(),
            all_turns: Arc::new(Semaphore::new(probe::AT_ONCE)),
            report,
        }
    }

    /// Goes by what the last start of the agent left, until there is something newer. To be called first.
    pub(super) fn recall(&mut self, mut recalled: Recalled, now: Instant) {
        self.docker = std::mem::take(&mut recalled.docker);
        self.stops = Stops::recalled(std::mem::take(&mut recalled.stops), wall(), now);
        self.recalled = recalled;
    }

    /// Writes down what the next start of the agent is to know.
    pub(super) fn written(&self) -> impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + use<> {
        let (endpoints, docker, stops) = (self.endpoints.clone(), self.docker.clone(), self.stops.begun());
        move |out| recall::write(out, &endpoints, &docker, &stops)
    }

    /// When [`Self::end_stops`] has something to do next.
    pub(super) fn stop_due(&self) -> Option<Instant> {
        self.stops.due()
    }

    /// Stops that only the last start of the agent saw, and that have not come about by now, are believed in no longer.
    pub(super) fn end_stops(&mut self, now: Instant) {
        for id in self.stops.expired(now) {
            self.unsaved = true;
            let (Some(container), Some(offers)) = (self.running.get(&id).cloned(), self.offered.get(&id).cloned())
            else {
                continue;
            };
            for offer in &offers.endpoints {
                self.live(offer, &container, &[]);
            }
        }
    }

    /// Follows the containers; `again`: their offers have to be read anew, whether they changed or not.
    pub(super) fn update(&mut self, containers: Containers, settings: &Settings, node: &Node, again: bool) {
        let Containers { running, unseen, .. } = containers;
        let of_unseen = self.stand(unseen);
        let before = std::mem::replace(&mut self.running, running.clone());
        for change in before.diff(&running) {
            match change {
                DiffItem::Remove(id, container) => self.gone(id, container),
                // All of them follow below.
                DiffItem::Add(..) | DiffItem::Update { .. } if again => {}
                DiffItem::Add(_, container) => self.changed(container, settings, node, false),
                DiffItem::Update { old: (_, old), new: (_, container) } => {
                    self.changed(container, settings, node, same_offers(old, container));
                }
            }
        }
        if again {
            for container in running.values() {
                self.changed(container, settings, node, false);
            }
        }
        // Whoever has not been looked at by now, and is not there unseen, is gone.
        if !self.recalled.endpoints.is_empty() {
            self.recalled.endpoints.retain(|id, _| self.unseen.contains(id));
        }
        if of_unseen {
            let runs = |id: &ContainerId| running.contains_key(id) || self.unseen.contains(id);
            self.docker.retain(|id, _| runs(id));
            self.stops.retain(runs);
        }
    }

    /// What is not known is not bad: endpoints of a container that runs and cannot be looked at stay as they were. True
    /// where there may be things remembered of containers that are gone.
    fn stand(&mut self, unseen: OrdSet<ContainerId>) -> bool {
        let is_first = self.running.is_empty();
        let before = std::mem::replace(&mut self.unseen, unseen.clone());
        for change in before.diff(&unseen) {
            let (SetChange::Add(id) | SetChange::Remove(id)) = change;
            for endpoint in self.recalled.endpoints.get(id).into_iter().flatten() {
                match change {
                    SetChange::Add(_) => {
                        let reason = format!("its container cannot be inspected; {}", endpoint.reason).into();
                        let stands = Endpoint { reason, ..endpoint.clone() };
                        self.endpoints.insert(stands.key(), Arc::new(stands));
                    }
                    // Looked at or gone: if it is still offered, it is back before anybody sees this.
                    SetChange::Remove(_) => drop(self.endpoints.remove(&endpoint.key())),
                }
            }
            self.unsaved = true;
        }
        is_first || !before.ptr_eq(&unseen)
    }

    /// A container is new or not what it was; `same`: what it offers is what it offered.
    fn changed(&mut self, container: &Arc<Container>, settings: &Settings, node: &Node, same: bool) {
        let before = self.offered.get(&container.id).cloned();
        let now = match &before {
            Some(before) if same => before.clone(),
            _ => Arc::new(offers(container, &settings.services, &settings.mesh, node)),
        };
        if before.as_ref() != Some(&now) {
            self.announce(container, before.as_deref(), &now);
            self.offered.insert(container.id.clone(), now.clone());
        }
        let docker = self.docker.get(&container.id).copied();
        let said = DockerLife::after(docker, container);
        if said != docker {
            self.unsaved = true;
            match said {
                Some(said) => self.docker.insert(container.id.clone(), said),
                None => self.docker.remove(&container.id),
            };
        }
        self.unsaved |= self.stops.follow(container, wall());
        let recalled = self.recalled.endpoints.remove(&container.id).unwrap_or_default();
        for offer in &now.endpoints {
            self.live(offer, container, &recalled);
        }
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &now)) {
            let kept: std::collections::HashSet<EndpointKey> = now.endpoints.iter().map(|o| o.endpoint.key()).collect();
            for key in before.endpoints.iter().map(|offer| offer.endpoint.key()).filter(|key| !kept.contains(key)) {
                self.end(&key);
            }
        }
    }

    /// An endpoint begins its life or goes on with it, maybe from where it was when the agent last ran.
    fn live(&mut self, offer: &Offer, container: &Container, recalled: &[Endpoint]) {
        let key = offer.endpoint.key();
        let check = offer.health.as_ref().filter(|check| **check != HealthCheck::None);
        let goes_on = self.endpoints.get(&key).is_some_and(|endpoint| same_life(endpoint, &offer.endpoint))
            && self.probed.get(&key).map(|probed| &probed.check) == check;
        if !goes_on {
            // Its successor is not yet what it was: the state it had does not count.
            self.end(&key);
            if let Some(check) = check {
                let was = recalled.iter().find(|was| was.key() == key && same_life(was, &offer.endpoint));
                let probed = self.probe(&key, offer, check, was);
                self.probed.insert(key.clone(), probed);
            }
        }
        self.settle(key, &offer.endpoint, offer.health.as_ref(), container);
    }

    /// A probe said something new.
    pub(super) fn probed(&mut self, ProbeReport { key, life, state, reason, silent }: ProbeReport) {
        let Some(probed) = self.probed.get_mut(&key).filter(|probed| probed.number == life) else { return };
        (probed.found, probed.silent) = (Some((state, reason)), silent);
        let check = probed.check.clone();
        let endpoint = self.endpoints.get(&key).cloned();
        let container = endpoint.as_ref().and_then(|endpoint| self.running.get(&endpoint.container)).cloned();
        if let (Some(endpoint), Some(container)) = (endpoint, container) {
            self.settle(key, &endpoint, Some(&check), &container);
        }
    }

    /// Brings one endpoint of the snapshot up to date.
    fn settle(&mut self, key: EndpointKey, offered: &Endpoint, check: Option<&HealthCheck>, container: &Container) {
        let probed = self.probed.get(&key);
        let evidence = Evidence {
            probed: probed.and_then(|probed| probed.found.as_ref()),
            silent: probed.is_some_and(|probed| probed.silent),
            stopping: self.stops.is_recalled(container),
            docker: self.docker.get(&container.id).copied(),
        };
        let (state, reason, last_resort) = state_of(container, check, evidence);
        if *self.reason != *reason {
            self.reason = reason.into();
        }
        let endpoint = Endpoint { state, last_resort, reason: self.reason.clone(), ..offered.clone() };
        let published = self.endpoints.get(&key);
        if published.is_some_and(|published| **published == endpoint) {
            return;
        }
        // That alone another reason is given is not remembered.
        self.unsaved |= published.is_none_or(|published| {
            let reason = endpoint.reason.clone();
            Endpoint { reason, ..Endpoint::clone(published) } != endpoint
        });
        let endpoint = Arc::new(endpoint);
        if published.is_some_and(|published| published.state != state) {
            self.changes.push(endpoint.clone());
        }
        self.endpoints.insert(key, endpoint);
    }

    fn gone(&mut self, id: &ContainerId, container: &Container) {
        self.docker.remove(id);
        self.stops.retain(|stops| stops != id);
        self.turns.remove(id);
        self.unsaved = true;
        let Some(offers) = self.offered.remove(id) else { return };
        for offer in &offers.endpoints {
            self.end(&offer.endpoint.key());
        }
        if !offers.endpoints.is_empty() {
            info!(container = %container.name, id = %id, endpoints = offers.endpoints.len(),
                "container is gone; its endpoints are removed");
        }
    }

    fn end(&mut self, key: &EndpointKey) {
        self.probed.remove(key);
        self.endpoints.remove(key);
        self.unsaved = true;
    }

    /// Begins to probe an endpoint; `was`: how it was when the agent last ran. It takes as many failures in a row as ever
    /// to call a healthy one otherwise.
    fn probe(&mut self, key: &EndpointKey, offer: &Offer, check: &HealthCheck, was: Option<&Endpoint>) -> Probed {
        self.births += 1;
        let turns = self.turns.entry(offer.endpoint.container.clone());
        let probing = Probing {
            key: key.clone(),
            life: self.births,
            address: offer.endpoint.addresses.first(),
            check: check.clone(),
            state: was.map_or(ProbeState::NEW, |was| ProbeState::recalled(was.state)),
            turns: turns.or_insert_with(|| Turns::new(Arc::clone(&self.all_turns))).clone(),
            reports: self.report.clone(),
        };
        Probed {
            number: self.births,
            check: check.clone(),
            found: was.map(|was| (was.state, was.reason.clone())),
            silent: false,
            _probe: AbortOnDropHandle::new(tokio::spawn(probing.run())),
        }
    }

    /// Says what a container offers now, and what is wrong with its labels.
    fn announce(&self, container: &Container, before: Option<&Offers>, now: &Offers) {
        let count = |offers: &Offers| offers.endpoints.len();
        if count(now) != before.map_or(0, count) {
            info!(container = %container.name, id = %container.id, endpoints = count(now),
                "container offers another number of endpoints");
        }
        if let Some(first) = now.faults.first()
            && before.is_none_or(|before| before.faults != now.faults)
        {
            warn!(container = %container.name, id = %container.id, faults = now.faults.len() + now.more_faults,
                label = %first.label, problem = %first.problem,
                "container has a label that cannot be used; run meshdog explain CONTAINER");
        }
    }
}

/// The time in seconds since the Unix epoch.
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether an endpoint is offered in the same life as an earlier one of the same key: what its health was found to be
/// still holds.
fn same_life(a: &Endpoint, b: &Endpoint) -> bool {
    a.started_ms == b.started_ms && a.container == b.container && a.addresses == b.addresses
}
