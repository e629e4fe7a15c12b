//! The task that owns the kernel's tables: keeps what is applied equal to what is desired.
//!
//! Lives on a thread of its own, so that a change reaches the kernel at once however busy the rest of the agent is.
//! Receives rulesets (the latest counts), orders about the lease, and news of others' changes; emits the state. Any
//! doubt about what the kernel holds ends in one transaction that writes the whole table; until it succeeds the kernel
//! goes on with what it has.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdSet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::nft::monitor::{ForeignChange, Monitor};
use super::nft::{Found, Nft, NftError};
use super::plan::plan;
use super::{DataplaneConfig, DataplaneState, Error, conntrack, links};
use crate::model::{IfName, Ruleset, error_chain};

/// How often the kernel's table is looked at without a reason.
const AUDIT: Duration = Duration::from_secs(60);
/// Pauses before another attempt double between these bounds, and begin anew after this much calm. The shortest lets a
/// foreign transaction finish telling what it did.
const CALM: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks for the lease to last so long from now, or to end; answered when the kernel has it.
#[derive(Debug)]
pub(super) struct LeaseOrder {
    pub(super) lease: Option<Duration>,
    pub(super) tell: oneshot::Sender<Result<(), NftError>>,
}

/// What the owner is fed with.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) rulesets: watch::Receiver<Option<Arc<Ruleset>>>,
    pub(super) leases: mpsc::Receiver<LeaseOrder>,
}

/// The owner.
#[derive(Debug)]
pub(super) struct Owner {
    config: DataplaneConfig,
    inputs: Inputs,
    nft: Nft,
    monitor: Monitor,
    state: watch::Sender<DataplaneState>,
    bridges: watch::Sender<OrdSet<IfName>>,
    cleaner: conntrack::Cleaner,
    /// What the kernel is known to hold.
    applied: Option<Arc<Ruleset>>,
    /// What the kernel should hold: the latest ruleset, or until there is one, what was found there.
    target: Option<Arc<Ruleset>>,
    lease_ends: Option<Instant>,
    attempt: Option<Instant>,
    trouble: Trouble,
}

impl Owner {
    /// Opens everything in the calling thread's network namespace, and adopts a table that a former agent left.
    pub(super) async fn start(
        config: DataplaneConfig,
        inputs: Inputs,
        state: watch::Sender<DataplaneState>,
    ) -> Result<Self, Error> {
        let mut nft = Nft::open(config.vip_cidr, config.capture)?;
        let monitor = Monitor::open(nft.port()).map_err(NftError::Socket)?;
        if config.capture {
            links::add_address(config.vip_cidr.resolver()).await?;
        }
        let found = nft.adopt()?;
        info!(%found, "looked at the kernel's tables");
        let applied = match found {
            Found::Ours(ruleset) => Some(Arc::new(ruleset)),
            Found::Nothing | Found::Other(_) => None,
        };
        let (bridges, ports) = watch::channel(OrdSet::new());
        tokio::spawn(async move {
            if let Err(error) = links::keep_hairpins(ports).await {
                warn!(error = %error_chain(&error), "bridge ports are left alone");
            }
        });
        let cleaner = conntrack::Cleaner::start(config.vip_cidr).map_err(Error::Conntrack)?;
        let mut owner = Self {
            config,
            inputs,
            nft,
            monitor,
            state,
            bridges,
            cleaner,
            target: applied.clone(),
            applied,
            lease_ends: None,
            attempt: None,
            trouble: Trouble::default(),
        };
        owner.publish(|_| ());
        Ok(owner)
    }

    /// Runs until nobody can send rulesets any more. The kernel keeps what it has.
    pub(super) async fn run(mut self) {
        let mut audit = tokio::time::interval_at(Instant::now() + AUDIT, AUDIT);
        audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.inputs.rulesets.mark_changed();
        loop {
            let attempt = self.attempt;
            tokio::select! {
                biased;
                changed = self.inputs.rulesets.changed() => match changed {
                    Ok(()) => self.take_ruleset(),
                    Err(_) => return,
                },
                Some(order) = self.inputs.leases.recv() => self.set_lease(order),
                change = self.monitor.foreign_change() => match change {
                    Ok(change) => self.repair(&change),
                    Err(error) => {
                        warn!(error = %error_chain(&error), "cannot follow changes of nf_tables");
                        self.doubt(|_| ());
                    }
                },
                () = until(attempt) => self.reconcile(),
                _ = audit.tick() => self.audit().await,
            }
        }
    }

    fn take_ruleset(&mut self) {
        let latest = self.inputs.rulesets.borrow_and_update().clone();
        if let Some(latest) = latest {
            let bridges = latest.bridges.clone();
            self.target = Some(latest);
            self.bridges.send_if_modified(|now| std::mem::replace(now, bridges) != *now);
            self.reconcile();
        }
    }

    /// Makes the kernel hold the target, by a plan if it is known what it holds, else as a whole.
    fn reconcile(&mut self) {
        self.attempt = None;
        let Some(target) = self.target.clone() else { return };
        let start = Instant::now();
        // Whether a plan took endpoints away; none: the whole table was written.
        let mut retires = None;
        let mut result = match &self.applied {
            Some(applied) => {
                let plan = plan(&target, applied);
                if plan.is_empty() {
                    self.applied = Some(target);
                    return self.publish(|_| ());
                }
                retires = Some(plan.retires_slots());
                self.nft.apply(&plan)
            }
            None => self.install(&target),
        };
        if let (Err(error), Some(_)) = (&result, self.applied.take()) {
            warn!(error = %error_chain(error), "a change failed; writing the whole table");
            self.config.metrics.failures.inc();
            self.publish(|state| state.failures += 1);
            retires = None;
            result = self.install(&target);
        }
        match result {
            Ok(()) => {
                let took = start.elapsed();
                self.config.metrics.reconcile.observe(took.as_secs_f64());
                match retires {
                    Some(true) => self.cleaner.clean(Arc::clone(&target)),
                    Some(false) => {}
                    None => self.cleaner.clean_all(Arc::clone(&target)),
                }
                self.applied = Some(target);
                self.publish(|state| {
                    state.applies += 1;
                    state.last_apply = Some(took);
                });
            }
            Err(error) => {
                self.config.metrics.failures.inc();
                warn!(error = %error_chain(&error), "cannot write the whole table; trying again");
                self.doubt(|state| state.failures += 1);
            }
        }
    }

    fn install(&mut self, target: &Ruleset) -> Result<(), NftError> {
        self.monitor.forget();
        let lease = self.lease_ends.map(|end| end.saturating_duration_since(Instant::now()));
        self.nft.install(target, lease.filter(|lease| !lease.is_zero()))
    }

    fn repair(&mut self, change: &ForeignChange) {
        // Nothing is held yet, or it is about to be written anyway.
        if self.applied.is_none() {
            return;
        }
        warn!(what = change.what, who = change.who, "somebody else changed our table; writing it anew");
        self.config.metrics.repairs.inc();
        self.doubt(|state| state.repairs += 1);
    }

    /// What the kernel holds is not known any more: the whole table is written, soon.
    fn doubt(&mut self, count: impl FnOnce(&mut DataplaneState)) {
        self.applied = None;
        // More trouble does not put off an attempt that is due.
        let trouble = &mut self.trouble;
        self.attempt.get_or_insert_with(|| Instant::now() + trouble.pause());
        self.publish(count);
    }

    fn set_lease(&mut self, LeaseOrder { lease, tell }: LeaseOrder) {
        self.lease_ends = lease.map(|lease| Instant::now() + lease);
        let result = match (self.config.capture, &self.applied) {
            (true, Some(_)) => self.nft.set_lease(lease),
            // A table to come is written with it.
            _ => Ok(()),
        };
        if result.is_err() {
            self.config.metrics.failures.inc();
            self.doubt(|state| state.failures += 1);
        }
        // Whoever asked may have gone.
        let _ = tell.send(result);
    }

    /// Looks whether the table and the resolver's address are there, and sweeps conntrack.
    async fn audit(&mut self) {
        let Some(applied) = self.applied.clone() else { return };
        match self.nft.present() {
            Ok(true) => self.cleaner.clean(applied),
            Ok(false) => self.repair(&ForeignChange { what: "delete table".to_owned(), who: "unknown".to_owned() }),
            Err(error) => warn!(error = %error_chain(&error), "cannot look at our table"),
        }
        if self.config.capture
            && let Err(error) = links::add_address(self.config.vip_cidr.resolver()).await
        {
            warn!(error = %error_chain(&error), "DNS queries cannot be answered");
        }
    }

    fn publish(&mut self, change: impl FnOnce(&mut DataplaneState)) {
        let applied = self.applied.clone();
        let desired = self.inputs.rulesets.borrow().clone();
        let in_sync = matches!((&applied, &desired), (Some(applied), Some(desired)) if Arc::ptr_eq(applied, desired));
        self.state.send_modify(|state| {
            change(state);
            state.in_sync = in_sync;
            state.applied = applied;
        });
    }
}

/// How long to wait before the next attempt.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<Instant>,
    pause: Duration,
}

impl Trouble {
    /// Notes trouble.
    fn pause(&mut self) -> Duration {
        let calm = self.last.is_none_or(|last| last.elapsed() > CALM);
        self.pause = if calm { SHORTEST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        self.last = Some(Instant::now());
        self.pause
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
