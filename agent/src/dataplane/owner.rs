//! The task that owns what one network namespace is programmed with: keeps what is applied equal to what is desired.
//!
//! Receives rulesets (the latest counts, of its view alone), requests about the lease, and news of others' changes; emits
//! its part of the state, the bridges whose ports matter, and what conntrack is to be cleaned of. Any doubt about what the
//! backend holds ends in writing it whole; until that succeeds the kernel goes on with what it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdSet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::backend::{Backend, ForeignChange, Found, Lease};
use super::conntrack::Cleaner;
use super::netns::Netns;
use super::plan::Plan;
use super::state::{DataplaneState, NamespaceState};
use super::{Error, Metrics};
use crate::clients::backoff::{Backoff, Delays};
use crate::model::{IfName, QueryPath, Ruleset, Rulesets, View, error_chain, publish};
use crate::until::until;

/// How often what is held is looked at without a reason.
const AUDIT: Duration = Duration::from_secs(60);
/// Before another attempt. The shortest lets a foreign transaction finish telling what it did.
const ATTEMPT_AGAIN: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
/// After so much calm the pauses begin anew.
const CALM: Duration = Duration::from_secs(10);

/// Asks for leases to be renewed or ended; answered when the kernel has them.
#[derive(Debug)]
pub(super) struct LeaseRequest {
    pub(super) change: LeaseChange,
    pub(super) answer: oneshot::Sender<Result<(), Error>>,
}

/// What becomes of leases.
#[derive(Debug, Clone)]
pub(super) enum LeaseChange {
    /// These last so long from now; the others as long as they do.
    Renew(Arc<[QueryPath]>, Duration),
    /// All end now.
    End,
}

/// What the owner is fed with.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) rulesets: watch::Receiver<Option<Rulesets>>,
    pub(super) leases: mpsc::Receiver<LeaseRequest>,
}

/// Where the owner tells of what it does.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) state: watch::Sender<DataplaneState>,
    /// Bridges that have clients: their ports may have to send a frame back.
    pub(super) bridges: watch::Sender<OrdSet<IfName>>,
    pub(super) cleaner: Cleaner,
    pub(super) metrics: Metrics,
}

/// Why an owner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to. The kernel keeps what it has.
    Stopped,
    /// Nobody uses its namespace any more.
    NamespaceGone,
}

/// What bringing the backend to the target took.
#[derive(Debug)]
enum Written {
    /// It held that already; whether endpoints have drained.
    Nothing { retires: bool },
    /// What differed, and whether endpoints went with it.
    Plan { retires: bool },
    /// The whole table.
    Table,
}

/// The owner.
#[derive(Debug)]
pub(super) struct Owner<B> {
    netns: Netns,
    view: View,
    /// Whether DNS queries are captured while the lease lasts.
    capture: bool,
    inputs: Inputs,
    outputs: Outputs,
    backend: B,
    /// What the backend is known to hold.
    applied: Option<Arc<Ruleset>>,
    /// What it should hold: the latest ruleset, or until there is one, what was found there.
    target: Option<Arc<Ruleset>>,
    /// When each lease ends. Those that are over may be among them.
    leases: BTreeMap<QueryPath, Instant>,
    attempt: Option<Instant>,
    trouble: Trouble,
}

impl<B: Backend> Owner<B> {
    /// Adopts what a former agent left.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn start(
        mut backend: B,
        (netns, view): (Netns, View),
        capture: bool,
        inputs: Inputs,
        outputs: Outputs,
    ) -> Result<Self, B::Error> {
        let found = backend.adopt()?;
        info!(%found, netns = %netns.id(), "looked at the kernel's tables");
        let applied = match found {
            Found::Ours(ruleset) => Some(Arc::new(ruleset)),
            Found::Nothing | Found::Other(_) => None,
        };
        let mut owner = Self {
            netns,
            view,
            capture,
            inputs,
            outputs,
            backend,
            target: applied.clone(),
            applied,
            leases: BTreeMap::new(),
            attempt: None,
            trouble: Trouble::new(),
        };
        owner.publish(|_| ());
        Ok(owner)
    }

    /// Runs until nobody can send requests any more, or nobody uses the namespace. Where there are no more rulesets the
    /// last one stays, and the lease can still be ended.
    pub(super) async fn run(mut self) -> Ended {
        let mut more = true;
        let mut audit = tokio::time::interval_at(Instant::now() + AUDIT, AUDIT);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.inputs.rulesets.mark_changed();
        loop {
            let attempt = self.attempt;
            tokio::select! {
                biased;
                changed = self.inputs.rulesets.changed(), if more => match changed {
                    Ok(()) => self.take_ruleset(),
                    Err(_) => more = false,
                },
                request = self.inputs.leases.recv() => match request {
                    Some(request) => self.set_lease(request),
                    None => return Ended::Stopped,
                },
                change = self.backend.foreign_change() => match change {
                    Ok(change) => self.repair(&change),
                    Err(error) => {
                        warn!(error = %error_chain(&error), netns = %self.netns.id(),
                            "cannot follow others' changes of nf_tables; writing our table anew");
                        self.doubt(|_| ());
                    }
                },
                () = until(attempt) => self.reconcile(),
                _ = audit.tick() => {
                    if !self.netns.is_there() {
                        return Ended::NamespaceGone;
                    }
                    self.audit();
                }
            }
        }
    }

    fn take_ruleset(&mut self) {
        let view = self.view;
        let latest = self.inputs.rulesets.borrow_and_update().as_ref().and_then(|all| all.get(&view).cloned());
        let Some(latest) = latest else { return };
        let bridges = latest.bridges.clone();
        self.target = Some(latest);
        publish(&self.outputs.bridges, bridges, PartialEq::eq);
        self.reconcile();
    }

    /// Makes the backend hold the target, by a plan if it is known what it holds, else as a whole.
    fn reconcile(&mut self) {
        self.attempt = None;
        let Some(target) = self.target.clone() else { return };
        let start = Instant::now();
        match self.program(&target) {
            Ok(Written::Nothing { retires }) => {
                if retires {
                    self.outputs.cleaner.clean(Arc::clone(&target));
                }
                self.applied = Some(target);
                self.publish(|_| ());
            }
            Ok(written) => {
                let took = start.elapsed();
                self.outputs.metrics.reconcile.observe(took.as_secs_f64());
                match written {
                    Written::Table => self.outputs.cleaner.clean_all(Arc::clone(&target)),
                    Written::Plan { retires: true } => self.outputs.cleaner.clean(Arc::clone(&target)),
                    Written::Plan { retires: false } | Written::Nothing { .. } => {}
                }
                self.applied = Some(target);
                self.publish(|state| {
                    state.applies += 1;
                    state.last_apply = Some(took);
                });
            }
            Err(error) => {
                self.outputs.metrics.failures.inc();
                warn!(error = %error_chain(&error), netns = %self.netns.id(),
                    "cannot write the whole table; trying again");
                self.doubt(|state| state.failures += 1);
            }
        }
    }

    /// Writes what differs, or all of it where that is not known or fails.
    fn program(&mut self, target: &Ruleset) -> Result<Written, B::Error> {
        if let Some(applied) = &self.applied {
            let plan = Plan::new(target, applied);
            if plan.is_empty() {
                return Ok(Written::Nothing { retires: plan.retires() });
            }
            let Err(error) = self.backend.apply(&plan) else {
                return Ok(Written::Plan { retires: plan.retires() });
            };
            warn!(error = %error_chain(&error), netns = %self.netns.id(), "a change failed; writing the whole table");
            self.applied = None;
            self.outputs.metrics.failures.inc();
            self.publish(|state| state.failures += 1);
        }
        self.install(target).map(|()| Written::Table)
    }

    fn install(&mut self, target: &Ruleset) -> Result<(), B::Error> {
        let leases = self.leases();
        self.backend.install(target, &leases)
    }

    fn repair(&mut self, change: &ForeignChange) {
        // Nothing is held yet, or it is about to be written anyway.
        if self.applied.is_none() {
            return;
        }
        warn!(what = change.what, who = change.who, netns = %self.netns.id(),
            "somebody else changed our table; writing it anew");
        self.outputs.metrics.repairs.inc();
        self.doubt(|state| state.repairs += 1);
    }

    /// What the backend holds is not known any more: all of it is written, soon.
    fn doubt(&mut self, count: impl FnOnce(&mut NamespaceState)) {
        self.applied = None;
        // More trouble does not put off an attempt that is due.
        let trouble = &mut self.trouble;
        self.attempt.get_or_insert_with(|| Instant::now() + trouble.pause());
        self.publish(count);
    }

    /// What is left of each lease.
    fn leases(&mut self) -> Vec<Lease> {
        let now = Instant::now();
        self.leases.retain(|_, end| *end > now);
        self.leases.iter().map(|(path, end)| (path.clone(), *end - now)).collect()
    }

    fn set_lease(&mut self, LeaseRequest { change, answer }: LeaseRequest) {
        match change {
            LeaseChange::Renew(paths, lease) => {
                let end = Instant::now() + lease;
                self.leases.extend(paths.iter().map(|path| (path.clone(), end)));
            }
            LeaseChange::End => self.leases.clear(),
        }
        let leases = self.leases();
        let result = match (self.capture, &self.applied) {
            (true, Some(_)) => self.backend.set_leases(&leases),
            // A table to come is written with it.
            _ => Ok(()),
        };
        if result.is_err() {
            self.outputs.metrics.failures.inc();
            self.doubt(|state| state.failures += 1);
        }
        // Whoever asked may have gone.
        let _ = answer.send(result.map_err(|error| Error::Backend(Box::new(error))));
    }

    /// Looks whether what was installed is there, and sweeps conntrack.
    fn audit(&mut self) {
        let Some(applied) = self.applied.clone() else { return };
        match self.backend.audit() {
            Ok(true) => self.outputs.cleaner.clean(applied),
            Ok(false) => self.repair(&ForeignChange { what: "delete table".to_owned(), who: "unknown".to_owned() }),
            Err(error) => {
                warn!(error = %error_chain(&error), netns = %self.netns.id(), "cannot look at our table");
            }
        }
    }

    fn publish(&mut self, change: impl FnOnce(&mut NamespaceState)) {
        let applied = self.applied.clone();
        let desired = self.inputs.rulesets.borrow().as_ref().and_then(|all| all.get(&self.view).cloned());
        let in_sync = matches!((&applied, &desired), (Some(applied), Some(desired)) if Arc::ptr_eq(applied, desired));
        let (id, view) = (self.netns.id(), self.view);
        self.outputs.state.send_modify(|state| {
            let state = state.of(id, view, B::NAME);
            change(state);
            state.in_sync = in_sync;
            state.applied = applied;
        });
    }
}

/// How long to wait before the next attempt.
#[derive(Debug)]
struct Trouble {
    last: Option<Instant>,
    delays: Delays,
}

impl Trouble {
    fn new() -> Self {
        Self { last: None, delays: ATTEMPT_AGAIN.delays() }
    }

    /// Notes trouble.
    fn pause(&mut self) -> Duration {
        if self.last.is_some_and(|last| last.elapsed() > CALM) {
            self.delays.reset();
        }
        self.last = Some(Instant::now());
        self.delays.wait()
    }
}

#[cfg(test)]
mod tests;
