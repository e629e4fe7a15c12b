//! The life of this node's endpoints.
//!
//! Owns the probes and what they found, and the file that remembers it over a restart. Receives containers, settings and
//! the node; emits [`Endpoints`] with state and reason, and for each container what it offers and what is wrong with its
//! labels. The work for a change follows what changed, not what there is. Never touches Docker or the kernel's tables;
//! ejection by failed connections is only counted here ([`outlier`]) and applied where all of a service's endpoints are
//! known.

mod confirm;
mod ejected;
mod ledger;
mod life;
pub mod outlier;
pub mod passive;
mod probe;
mod probe_state;
mod recall;
pub mod roads;
mod stops;

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::ledger::Ledger;
use self::probe::ProbeReport;
use self::recall::Recalled;
use crate::config::Settings;
use crate::model::publish::{if_given, publish};
use crate::model::{Containers, Endpoints, Node, Offered, error_chain};
use crate::state_file::{Saver, StateFile};
use crate::until::until;

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
        let ledger = Ledger::new(report);
        (Self { containers, settings, node, endpoints_out, offered_out, reports, ledger }, endpoints, offered)
    }

    /// Runs until it is told to stop, or until there are no more containers to come.
    pub async fn run(mut self, stop: CancellationToken) {
        let file = StateFile::new(&self.settings.paths.state_dir, recall::FILE, recall::MAX_BYTES);
        self.ledger.recall(recalled(&file).await, Instant::now());
        let mut saver = Saver::new(file);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow(&mut saver) => {}
        }
        saver.finish(self.ledger.written()).await;
    }

    async fn follow(&mut self, saver: &mut Saver) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if std::mem::take(&mut self.ledger.unsaved) {
                saver.changed();
            }
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
                () = until(self.ledger.stop_due()) => {
                    self.ledger.end_stops(Instant::now());
                    self.publish();
                    continue;
                }
                () = saver.due() => {
                    saver.write(self.ledger.written());
                    continue;
                }
            };
            let containers = self.containers.borrow_and_update().clone();
            let node = self.node.borrow_and_update().clone();
            if let (Some(containers), Some(node)) = (containers, node) {
                self.ledger.update(containers, &self.settings, &node, again);
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

/// What the last start of the agent left; nothing where it cannot be used.
async fn recalled(file: &StateFile) -> Recalled {
    let path = file.path().to_owned();
    let file = file.clone();
    let look = move || -> Result<Recalled, io::Error> {
        let bytes = file.read().map_err(io::Error::other)?;
        bytes.map_or(Ok(Recalled::default()), |bytes| recall::read(&bytes).map_err(io::Error::other))
    };
    let recalled = tokio::task::spawn_blocking(look).await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    recalled.unwrap_or_else(|error| {
        warn!(error = %error_chain(&error), path = %path.display(),
            "cannot use what is saved of endpoints' health; each is asked before it serves");
        Recalled::default()
    })
}

/// Waits for news; for ever where none will come any more, since what was last said stands.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
