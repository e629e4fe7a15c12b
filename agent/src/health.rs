//! The life of this node's endpoints.
//!
//! Owns the probes and what they found. Receives containers, settings and the node; emits [`Endpoints`] with state and
//! reason, and for each container what it offers and what is wrong with its labels. The work for a change follows what
//! changed, not what there is. Never touches Docker or the kernel's tables; ejection by failed connections is only
//! counted here ([`outlier`]) and applied where all of a service's endpoints are known.

mod life;
pub mod outlier;
pub mod passive;
mod probe;
mod probe_state;

use std::collections::HashMap;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use self::life::{Evidence, same_offers, state_of};
use self::probe::ProbeReport;
use crate::config::Settings;
use crate::model::publish::{if_given, publish};
use crate::model::{
    Container, ContainerId, Containers, DockerHealth, Endpoint, EndpointKey, EndpointState, Endpoints, HealthCheck,
    Node, Offer, Offered, Offers,
};
use crate::sources::offers::offers;

/// Probes at once.
const PROBES: usize = 64;
/// Reports of probes that wait to be read.
const REPORTS: usize = 1024;
/// Changes of one snapshot that are named in the log: one container may offer thousands of services.
const LOGGED: usize = 16;
/// Reports that are taken into one snapshot.
const BATCH: usize = 256;

/// The task that owns the health of this node's endpoints.
#[derive(Debug)]
pub struct Health {
    containers: watch::Receiver<Option<Containers>>,
    settings: Arc<Settings>,
    node: watch::Receiver<Option<Node>>,
    endpoints_out: watch::Sender<Option<Endpoints>>,
    offered_out: watch::Sender<Offered>,
    reports: mpsc::Receiver<ProbeReport>,
    ledger: Ledger,
}

/// Everything that is known, and what was last published.
#[derive(Debug)]
struct Ledger {
    running: OrdMap<ContainerId, Arc<Container>>,
    offered: Offered,
    /// What is known of endpoints whose health is asked. Of the others, what is published is all there is to know.
    probed: HashMap<EndpointKey, Probed>,
    /// Containers that Docker has called healthy in the life that began then.
    were_healthy: HashMap<ContainerId, u64>,
    endpoints: Endpoints,
    /// The reason that was given last: most are given many times over.
    reason: Arc<str>,
    /// Changes of state since the last snapshot: what to log once it is out.
    changes: Vec<Arc<Endpoint>>,
    births: u64,
    probes: Arc<Semaphore>,
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

impl Health {
    /// The task, not yet running, and what it publishes: endpoints are `None` until containers and node are known.
    #[must_use]
    pub fn new(
        containers: watch::Receiver<Option<Containers>>,
        settings: Arc<Settings>,
        node: watch::Receiver<Option<Node>>,
    ) -> (Self, watch::Receiver<Option<Endpoints>>, watch::Receiver<Offered>) {
        let (endpoints_out, endpoints) = watch::channel(None);
        let (offered_out, offered) = watch::channel(Offered::new());
        let (report, reports) = mpsc::channel(REPORTS);
        let ledger = Ledger {
            running: OrdMap::new(),
            offered: Offered::new(),
            probed: HashMap::new(),
            were_healthy: HashMap::new(),
            endpoints: Endpoints::new(),
            reason: Arc::default(),
            changes: Vec::new(),
            births: 0,
            probes: Arc::new(Semaphore::new(PROBES)),
            report,
        };
        (Self { containers, settings, node, endpoints_out, offered_out, reports, ledger }, endpoints, offered)
    }

    /// Runs until dropped, or until there are no more containers to come.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let again = tokio::select! {
                // Containers first: a stop that has begun is the most urgent news there is.
                biased;
                changed = self.containers.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                () = changed(&mut self.node) => true,
                _ = self.reports.recv_many(&mut batch, BATCH) => {
                    batch.drain(..).for_each(|report| self.ledger.probed(report));
                    self.publish();
                    continue;
                }
            };
            let containers = self.containers.borrow_and_update().clone();
            let node = self.node.borrow_and_update().clone();
            if let (Some(containers), Some(node)) = (containers, node) {
                self.ledger.update(containers.running, &self.settings, &node, again);
                self.publish();
            }
        }
    }

    fn publish(&mut self) {
        let ledger = &mut self.ledger;
        publish(&self.endpoints_out, Some(ledger.endpoints.clone()), if_given(Endpoints::ptr_eq));
        publish(&self.offered_out, ledger.offered.clone(), Offered::ptr_eq);
        if ledger.changes.len() > LOGGED {
            info!(endpoints = ledger.changes.len(), "many endpoints changed state; only the first are logged");
        }
        for endpoint in ledger.changes.drain(..).take(LOGGED) {
            info!(service = %endpoint.service, endpoint = %endpoint.id, address = %endpoint.addresses.first(),
                state = %endpoint.state, reason = %endpoint.reason, "endpoint state changed");
        }
    }
}

/// Waits for news; for ever where none will come any more, since what was last said stands.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Ledger {
    /// Follows the containers; `again`: their offers have to be read anew, whether they changed or not.
    fn update(&mut self, running: OrdMap<ContainerId, Arc<Container>>, settings: &Settings, node: &Node, again: bool) {
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
    }

    /// A container is new or not what it was; `same`: what it offers is what it offered.
    fn changed(&mut self, container: &Arc<Container>, settings: &Settings, node: &Node, same: bool) {
        let before = self.offered.get(&container.id).cloned();
        let now = match &before {
            Some(before) if same => before.clone(),
            _ => Arc::new(offers(container, &settings.services, &settings.mesh.namespace, node)),
        };
        if before.as_ref() != Some(&now) {
            self.announce(container, before.as_deref(), &now);
            self.offered.insert(container.id.clone(), now.clone());
        }
        if container.health == DockerHealth::Healthy {
            self.were_healthy.insert(container.id.clone(), container.started_ms);
        }
        for offer in &now.endpoints {
            self.live(offer, container);
        }
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &now)) {
            let kept: std::collections::HashSet<EndpointKey> = now.endpoints.iter().map(|o| o.endpoint.key()).collect();
            for key in before.endpoints.iter().map(|offer| offer.endpoint.key()).filter(|key| !kept.contains(key)) {
                self.end(&key);
            }
        }
    }

    /// An endpoint begins its life or goes on with it.
    fn live(&mut self, offer: &Offer, container: &Container) {
        let key = offer.endpoint.key();
        let check = offer.health.as_ref().filter(|check| **check != HealthCheck::None);
        let goes_on = self.endpoints.get(&key).is_some_and(|endpoint| same_life(endpoint, &offer.endpoint))
            && self.probed.get(&key).map(|probed| &probed.check) == check;
        if !goes_on {
            // Its successor is not yet what it was: the state it had does not count.
            self.end(&key);
            if let Some(check) = check {
                let probed = self.probe(&key, offer, check);
                self.probed.insert(key.clone(), probed);
            }
        }
        self.settle(key, &offer.endpoint, offer.health.as_ref(), container);
    }

    /// A probe said something new.
    fn probed(&mut self, ProbeReport { key, life, state, reason, silent }: ProbeReport) {
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
            docker_was_healthy: self.were_healthy.get(&container.id) == Some(&container.started_ms),
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
        let endpoint = Arc::new(endpoint);
        if published.is_some_and(|published| published.state != state) {
            self.changes.push(endpoint.clone());
        }
        self.endpoints.insert(key, endpoint);
    }

    fn gone(&mut self, id: &ContainerId, container: &Container) {
        self.were_healthy.remove(id);
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
    }

    fn probe(&mut self, key: &EndpointKey, offer: &Offer, check: &HealthCheck) -> Probed {
        self.births += 1;
        let (address, slots, report) = (offer.endpoint.addresses.first(), self.probes.clone(), self.report.clone());
        let task = probe::run(key.clone(), self.births, address, check.clone(), slots, report);
        let probe = AbortOnDropHandle::new(tokio::spawn(task));
        Probed { number: self.births, check: check.clone(), found: None, silent: false, _probe: probe }
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

/// Whether an endpoint is offered in the same life as an earlier one of the same key: what its health was found to be
/// still holds.
fn same_life(a: &Endpoint, b: &Endpoint) -> bool {
    a.started_ms == b.started_ms && a.container == b.container && a.addresses == b.addresses
}

#[cfg(test)]
mod tests;
