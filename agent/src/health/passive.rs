//! Passive outlier detection: reads what the kernel tells of connections to VIPs and says which endpoints to avoid.
//!
//! Owns the [`OutlierTracker`] and the connects that confirm what clients suffer. Receives flow events; the catalog, to
//! forget endpoints that are gone; containers and node, to know clients from strangers, whose failures count for nothing
//! but are looked into. Emits [`Ejections`]; shows every event to one observer, for counting. Sees a connection's begin and
//! end, never its packets.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tracing::info;

use super::confirm::{Confirm, Confirmed};
use super::outlier::{ConnectFailure, OutlierTracker};
use crate::model::{Containers, Ejections, Endpoints, Flow, FlowEvent, FlowKind, L4, Node, Target, TcpState};

/// How often failures that are too old to count are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often those that are avoided by proof are asked whether they are back.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What an observer is shown.
#[derive(Debug, Clone, Copy)]
pub enum Observation<'a> {
    /// A flow began or ended.
    Flow(&'a FlowEvent),
    /// The endpoint of this flow is avoided from now on, because of it.
    Ejection(&'a Flow),
}

/// The failure in what happened to a flow, if it is one. UDP has none: nobody need answer a datagram.
fn failure(FlowEvent { kind, flow }: &FlowEvent) -> Option<ConnectFailure> {
    match *kind {
        FlowKind::Destroyed { replied: false, tcp, .. } if flow.frontend.l4 == L4::Tcp => {
            Some(if tcp == Some(TcpState::CLOSE) { ConnectFailure::Refused } else { ConnectFailure::Unanswered })
        }
        FlowKind::New | FlowKind::Destroyed { .. } => None,
    }
}

/// The addresses whose endpoints are there no more, or are another container's.
fn gone<'a>(before: &'a Endpoints, now: &'a Endpoints) -> impl Iterator<Item = Target> + 'a {
    let ended = before.diff(now).filter_map(|change| match change {
        DiffItem::Remove(_, old) => Some(old),
        DiffItem::Update { old: (_, old), new: (_, new) } if old.started_ms != new.started_ms => Some(old),
        DiffItem::Add(..) | DiffItem::Update { .. } => None,
    });
    ended.flat_map(|endpoint| endpoint.targets())
}

/// Where the task's inputs come from.
#[derive(Debug)]
pub struct PassiveInputs {
    /// What happens to flows.
    pub flows: mpsc::Receiver<FlowEvent>,
    /// Every endpoint known here.
    pub catalog: watch::Receiver<Option<Endpoints>>,
    /// What Docker runs: whose failures count.
    pub containers: watch::Receiver<Option<Containers>>,
    /// This node, whose own processes are clients too.
    pub node: watch::Receiver<Option<Node>>,
}

/// The addresses of containers that run here.
fn addresses(containers: Option<&Containers>) -> HashSet<IpAddr> {
    let running = containers.into_iter().flat_map(|containers| containers.running.values());
    running.flat_map(|container| container.network.addresses()).collect()
}

/// What the task keeps.
#[derive(Debug, Default)]
struct Passive {
    tracker: OutlierTracker,
    confirm: Confirm,
    known: Endpoints,
    clients: HashSet<IpAddr>,
}

/// Runs until nobody tells of flows any more.
pub async fn run(
    mut inputs: PassiveInputs,
    ejections: watch::Sender<Ejections>,
    mut observe: impl FnMut(Observation<'_>),
) {
    let mut passive = Passive::default();
    let mut sweep = Instant::now() + SWEEP;
    let mut again = tokio::time::interval(ASK_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    inputs.containers.mark_changed();
    loop {
        let due = passive.tracker.due().map_or(sweep, |due| due.min(sweep));
        let changed = tokio::select! {
            event = inputs.flows.recv() => match event {
                Some(event) => {
                    let here = inputs.node.borrow().as_ref().map(|node| node.address);
                    passive.take(&event, here, &mut observe)
                }
                None => return,
            },
            Ok(()) = inputs.catalog.changed() => {
                let now = inputs.catalog.borrow_and_update().clone().unwrap_or_default();
                passive.follow(now)
            }
            Ok(()) = inputs.containers.changed() => {
                passive.clients = addresses(inputs.containers.borrow_and_update().as_ref());
                false
            }
            confirmed = passive.confirm.next() => passive.confirmed(&confirmed, &mut observe),
            _ = again.tick(), if passive.tracker.proven().next().is_some() => {
                passive.ask_again();
                false
            }
            () = sleep_until(due) => {
                let now = Instant::now();
                if sweep <= now {
                    sweep = now + SWEEP;
                    passive.confirm.forget_old(now);
                }
                passive.tracker.expired(now)
            }
        };
        if changed {
            ejections.send_replace(passive.tracker.ejected().clone());
        }
    }
}

impl Passive {
    /// Takes note of an event; true when it ejected an endpoint. `here`: this node's address.
    fn take(&mut self, event: &FlowEvent, here: Option<IpAddr>, observe: &mut impl FnMut(Observation<'_>)) -> bool {
        observe(Observation::Flow(event));
        let Some(failure) = failure(event) else { return false };
        let flow = &event.flow;
        let (now, target) = (Instant::now(), Target::new(flow.frontend.l4, flow.endpoint));
        // A flow that was never translated says nothing of any endpoint.
        if flow.endpoint.ip() != flow.frontend.vip {
            self.confirm.ask(target, Some(*flow), now);
        }
        let client = flow.client.ip();
        let is_here = self.clients.contains(&client) || Some(client) == here || client.is_loopback();
        let ejected = is_here && self.tracker.observe(now, target, failure, client);
        if ejected {
            self.tell(&target, Some(flow), observe);
        }
        ejected
    }

    /// Takes note of what came of a connect of our own; true when somebody is ejected since, or no more.
    fn confirmed(&mut self, confirmed: &Confirmed, observe: &mut impl FnMut(Observation<'_>)) -> bool {
        let (now, target) = (Instant::now(), confirmed.target);
        match confirmed.answer {
            Ok(()) => {
                let acquitted = self.tracker.acquit(now, &target);
                if acquitted {
                    info!(endpoint = %target.address(), "endpoint answers again; it is avoided no more");
                }
                acquitted
            }
            Err(failure) => {
                let ejected = self.tracker.prove(now, target, failure);
                if ejected {
                    self.tell(&target, confirmed.flow.as_ref(), observe);
                }
                ejected
            }
        }
    }

    /// Asks those that are avoided by proof whether they are back.
    fn ask_again(&mut self) {
        let now = Instant::now();
        for target in self.tracker.proven() {
            self.confirm.ask(target, None, now);
        }
    }

    /// Follows the catalog; true when somebody is ejected no more.
    fn follow(&mut self, now: Endpoints) -> bool {
        let (tracker, confirm) = (&mut self.tracker, &mut self.confirm);
        let forget = |target: &Target| {
            confirm.forget(target);
            tracker.forget(target)
        };
        let ended = gone(&self.known, &now).filter(forget).count();
        self.known = now;
        ended > 0
    }

    fn tell(&self, target: &Target, flow: Option<&Flow>, observe: &mut impl FnMut(Observation<'_>)) {
        let Some(ejection) = self.tracker.ejected().get(target) else { return };
        info!(endpoint = %target.address(), reason = %ejection.reason,
            "endpoint ejected; it takes no new connection for a while");
        if let Some(flow) = flow {
            observe(Observation::Ejection(flow));
        }
    }
}

#[cfg(test)]
mod tests;
