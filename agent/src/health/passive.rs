//! Passive outlier detection: reads what the kernel tells of connections to VIPs and says which endpoints to avoid.
//!
//! Owns the [`OutlierTracker`] and the connects that confirm what clients suffer. Receives flow events; the catalog, to
//! forget endpoints that are gone; containers and node, to know clients from strangers, whose failures count for nothing
//! but are looked into. Emits [`Ejections`], and remembers them on disk; shows every event to one observer, for counting.
//! Sees a connection's begin and end, never its packets.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imbl::ordmap::DiffItem;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::confirm::{Confirm, Confirmed};
use super::ejected::{self, Ejected, Life};
use super::outlier::{ConnectFailure, OutlierTracker};
use crate::model::{
    Containers, Ejections, Endpoints, Flow, FlowEvent, FlowKind, L4, Node, Target, TcpState, error_chain,
};
use crate::state_file::{Saver, StateFile};

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

/// Whose endpoints are at some targets.
fn lives_of(catalog: &Endpoints, mut wanted: impl FnMut(&Target) -> bool) -> HashMap<Target, Life> {
    let all = catalog.values().flat_map(|endpoint| endpoint.targets().map(move |target| (target, endpoint)));
    all.filter(|(target, _)| wanted(target)).map(|(target, endpoint)| (target, Life::of(endpoint))).collect()
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
    /// Where ejections are remembered.
    pub state_dir: PathBuf,
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
    /// Whose ejections were recalled, as long as it is not known whether their addresses are still theirs.
    recalled: HashMap<Target, Life>,
}

/// Runs until it is told to stop, or until nobody tells of flows any more.
pub async fn run(
    inputs: PassiveInputs,
    ejections: watch::Sender<Ejections>,
    observe: impl FnMut(Observation<'_>),
    stop: CancellationToken,
) {
    let file = StateFile::new(&inputs.state_dir, ejected::FILE, ejected::MAX_BYTES);
    let mut passive = Passive::default();
    // Before the first await: nothing is programmed yet that does not know of it.
    passive.recall(recalled(&file));
    ejections.send_replace(passive.tracker.ejected().clone());
    let mut saver = Saver::new(file);
    tokio::select! {
        () = stop.cancelled() => {}
        () = passive.follow_all(inputs, ejections, observe, &mut saver) => {}
    }
    saver.finish(passive.written()).await;
}

/// What the last start of the agent left; nothing where it cannot be used.
fn recalled(file: &StateFile) -> Vec<Ejected> {
    let bytes = file.read().map_err(io::Error::other);
    let read = |bytes: Vec<u8>| ejected::read(&bytes, now()).map_err(io::Error::other);
    bytes.and_then(|bytes| bytes.map_or(Ok(Vec::new()), read)).unwrap_or_else(|error| {
        let path: &Path = file.path();
        warn!(error = %error_chain(&error), path = %path.display(),
            "cannot use what is saved of ejections; connections that fail decide anew whom to avoid");
        Vec::new()
    })
}

/// The time, and the same in milliseconds since the Unix epoch.
fn now() -> (Instant, u64) {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}

impl Passive {
    /// Goes by what the last start of the agent left, until it is known to be of others.
    fn recall(&mut self, all: Vec<Ejected>) {
        for Ejected { target, life, ejection, level } in all {
            self.tracker.recall(target, ejection, level);
            self.recalled.insert(target, life);
        }
    }

    /// Writes down what the next start of the agent is to know.
    fn written(&self) -> impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + use<> {
        let ejected = self.tracker.ejected();
        let mut lives = self.recalled.clone();
        if !ejected.is_empty() {
            lives.extend(lives_of(&self.known, |target| ejected.contains_key(target)));
        }
        let all = ejected.iter().filter_map(|(target, ejection)| {
            let (life, level) = (lives.remove(target)?, self.tracker.level(target));
            Some(Ejected { target: *target, life, ejection: ejection.clone(), level })
        });
        let all: Vec<Ejected> = all.collect();
        move |out| ejected::write(out, &all, now())
    }

    async fn follow_all(
        &mut self,
        mut inputs: PassiveInputs,
        ejections: watch::Sender<Ejections>,
        mut observe: impl FnMut(Observation<'_>),
        saver: &mut Saver,
    ) {
        let passive = self;
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
                    let now = inputs.catalog.borrow_and_update().clone();
                    now.is_some_and(|now| passive.follow(now))
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
                () = saver.due() => {
                    saver.write(passive.written());
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
                saver.changed();
            }
        }
    }

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
        let mut ended = gone(&self.known, &now).filter(forget).count();
        if !self.recalled.is_empty() {
            let recalled = std::mem::take(&mut self.recalled);
            let lives = lives_of(&now, |target| recalled.contains_key(target));
            let of_others = recalled.iter().filter(|(target, life)| lives.get(*target) != Some(*life));
            ended += of_others.filter(|(target, _)| tracker.forget(target)).count();
        }
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
