//! One owner for each network namespace that has clients: started when a namespace comes, ended when it goes.
//!
//! Owns the owners' threads. An owner lives on a thread of its own, in its namespace, so that a change reaches the kernel at
//! once however busy the rest of the agent is. The rulesets are shared: namespaces of one view hold the same.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future::join_all;
use imbl::OrdSet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::backend::Backend;
use super::netns::{Netns, NetnsError, NetnsId};
use super::nft::Nft;
use super::owner::{Ended, Inputs, LeaseChange, LeaseRequest, Outputs, Owner};
use super::state::DataplaneState;
use super::{DataplaneConfig, Error, conntrack, links};
use crate::model::{Rulesets, View, VipCidr, VipRanges, error_chain};

/// Requests about the lease that may wait for an owner.
const LEASE_REQUESTS: usize = 4;
/// How long all owners together may take to end.
const JOIN: Duration = Duration::from_secs(2);

/// Where clients are: each network namespace, and the view that its clients have of the mesh.
pub type Namespaces = BTreeMap<NetnsId, (Netns, View)>;

/// The namespaces that are programmed, as a part of the agent.
#[derive(Debug)]
pub struct Dataplane {
    config: DataplaneConfig,
    rulesets: watch::Receiver<Option<Rulesets>>,
    namespaces: watch::Receiver<Namespaces>,
    leases: mpsc::Receiver<LeaseRequest>,
    state: watch::Sender<DataplaneState>,
    owners: BTreeMap<NetnsId, Running>,
    /// Owners say here that they have ended.
    ended: (mpsc::UnboundedSender<Farewell>, mpsc::UnboundedReceiver<Farewell>),
    /// How many owners there have been.
    births: u64,
}

/// A running owner.
#[derive(Debug)]
struct Running {
    /// Which of the owners that this namespace has had.
    birth: u64,
    leases: mpsc::Sender<LeaseRequest>,
    thread: std::thread::JoinHandle<Result<(), NetnsError>>,
}

/// That an owner has ended, and why; `None`: it panicked.
#[derive(Debug, Clone, Copy)]
struct Farewell {
    id: NetnsId,
    birth: u64,
    why: Option<Ended>,
}

/// Says farewell for an owner, even if it panics.
struct SaysFarewell(Farewell, mpsc::UnboundedSender<Farewell>);

impl Drop for SaysFarewell {
    fn drop(&mut self) {
        // Nobody listens when everything ends.
        let _ = self.1.send(self.0);
    }
}

impl Dataplane {
    /// Starts an owner in every namespace that is there already. Returns when their sockets are open, a former agent's
    /// tables are adopted, and the resolver's address is there to be bound. The kernel is not changed before the first
    /// ruleset.
    ///
    /// # Errors
    /// The kernel lacks something, or the agent the right to it.
    pub(super) async fn start(
        config: DataplaneConfig,
        rulesets: watch::Receiver<Option<Rulesets>>,
        namespaces: watch::Receiver<Namespaces>,
        leases: mpsc::Receiver<LeaseRequest>,
    ) -> Result<(Self, watch::Receiver<DataplaneState>), Error> {
        let (state, state_out) = watch::channel(DataplaneState::default());
        let ended = mpsc::unbounded_channel();
        let mut dataplane =
            Self { config, rulesets, namespaces, leases, state, owners: BTreeMap::new(), ended, births: 0 };
        let first = dataplane.namespaces.borrow_and_update().clone();
        for (netns, view) in first.into_values() {
            dataplane.begin(netns, view).await?;
        }
        Ok((dataplane, state_out))
    }

    /// Follows the namespaces until it is told to stop, an owner fails, or the last namespace is gone and no other can
    /// come. The kernel keeps what it has; DNS queries go to their own servers from then on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut more = true;
        while more || !self.owners.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(request) = self.leases.recv() => self.set_lease(request).await,
                Some(farewell) = self.ended.1.recv() => if self.bury(farewell).await.is_break() {
                    break;
                },
                changed = self.namespaces.changed(), if more => match changed {
                    Ok(()) => self.follow().await,
                    // Those that are known stay.
                    Err(_) => more = false,
                },
            }
        }
        // Containers' queries go to their own servers before nobody answers them here.
        let (answer, answered) = oneshot::channel();
        self.set_lease(LeaseRequest { change: LeaseChange::End, answer }).await;
        if let Ok(Err(error)) = answered.await {
            warn!(error = %error_chain(&error), "DNS falls open when its lease is over");
        }
        let owners = std::mem::take(&mut self.owners);
        join(owners.into_values().map(|running| running.thread).collect()).await;
    }

    /// Ends the owners of namespaces that have gone, and starts those of new ones.
    async fn follow(&mut self) {
        let wanted = self.namespaces.borrow_and_update().clone();
        let gone: Vec<NetnsId> = self.owners.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            self.forget(id).await;
        }
        for (id, (netns, view)) in wanted {
            if self.owners.contains_key(&id) || !netns.is_there() {
                continue;
            }
            let path = netns.path().to_owned();
            if let Err(error) = self.begin(netns, view).await {
                error!(netns = %id, path = %path.display(), error = %error_chain(&error),
                    "cannot program a network namespace; its clients reach no service");
            }
        }
    }

    /// Lets go of an owner that has ended, unless that is known. One that failed ends all: nobody would program its
    /// namespace again.
    async fn bury(&mut self, Farewell { id, birth, why }: Farewell) -> ControlFlow<()> {
        if self.owners.get(&id).is_none_or(|running| running.birth != birth) {
            return ControlFlow::Continue(());
        }
        self.forget(id).await;
        if why == Some(Ended::NamespaceGone) {
            // It may be known by another path by now.
            self.follow().await;
            return ControlFlow::Continue(());
        }
        error!(netns = %id, "the owner of a network namespace has failed; the agent ends, to begin anew");
        ControlFlow::Break(())
    }

    async fn forget(&mut self, id: NetnsId) {
        let Some(running) = self.owners.remove(&id) else { return };
        drop(running.leases);
        join(vec![running.thread]).await;
        // Last: until its end it tells how it is.
        self.state.send_modify(|state| drop(state.namespaces.remove(&id)));
        info!(netns = %id, "network namespace is programmed no more");
    }

    /// Starts a namespace's owner, and waits until it has adopted what is there.
    async fn begin(&mut self, netns: Netns, view: View) -> Result<(), Error> {
        let (leases, inbox) = mpsc::channel(LEASE_REQUESTS);
        let (tell, started) = oneshot::channel();
        let inputs = Inputs { rulesets: self.rulesets.clone(), leases: inbox };
        self.births += 1;
        let (birth, ended) = (self.births, self.ended.0.clone());
        let (config, state) = (self.config.clone(), self.state.clone());
        let (id, place) = (netns.id(), (netns.clone(), view));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let work = move || {
            runtime.block_on(async {
                match attend::<Nft>(Nft::open, config, place, inputs, state).await {
                    Ok(owner) => {
                        let mut farewell = SaysFarewell(Farewell { id, birth, why: None }, ended);
                        let _ = tell.send(Ok(()));
                        farewell.0.why = Some(owner.run().await);
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        };
        let thread = netns.spawn("dataplane", work)?;
        match started.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            // The thread ended without a word: it did not get into the namespace.
            Err(_) => return Err(thread.join().ok().and_then(Result::err).map_or(Error::Stopped, Error::Netns)),
        }
        self.owners.insert(id, Running { birth, leases, thread });
        Ok(())
    }

    /// Changes leases in all namespaces at a time; the first error, where there is any.
    async fn set_lease(&self, LeaseRequest { change, answer }: LeaseRequest) {
        let each = self.owners.values().map(|running| async {
            let (answer, answered) = oneshot::channel();
            let request = LeaseRequest { change: change.clone(), answer };
            running.leases.send(request).await.map_err(|_| Error::Stopped)?;
            answered.await.map_err(|_| Error::Stopped)?
        });
        // Whoever asked may have gone.
        let _ = answer.send(join_all(each).await.into_iter().collect());
    }
}

/// Opens everything that a namespace needs, in the calling thread's namespace, which is that one.
async fn attend<B: Backend>(
    open: impl FnOnce(VipRanges, bool) -> Result<B, B::Error>,
    config: DataplaneConfig,
    place: (Netns, View),
    inputs: Inputs,
    state: watch::Sender<DataplaneState>,
) -> Result<Owner<B>, Error> {
    let backend = |error: B::Error| Error::Backend(Box::new(error));
    let opened = open(config.vip_ranges, config.capture).map_err(backend)?;
    if config.capture {
        for range in config.vip_ranges.iter() {
            links::add_address(range.resolver()).await?;
            tokio::spawn(links::keep_address(range.resolver()));
        }
    }
    let (bridges, ports) = watch::channel(OrdSet::new());
    let families = config.vip_ranges.iter().map(VipCidr::family).collect();
    tokio::spawn(async move {
        if let Err(error) = links::keep_hairpins(families, ports).await {
            warn!(error = %error_chain(&error), "cannot follow bridge ports; an endpoint may not reach itself by a VIP");
        }
    });
    let cleaner = conntrack::Cleaner::start(config.vip_ranges).map_err(Error::Conntrack)?;
    let outputs = Outputs { state, bridges, cleaner, metrics: config.metrics };
    Owner::start(opened, place, config.capture, inputs, outputs).map_err(backend)
}

/// Waits for threads that are about to end, within a bound.
async fn join(threads: Vec<std::thread::JoinHandle<Result<(), NetnsError>>>) {
    let wait = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                error!("a thread of the data plane has panicked");
            }
        }
    });
    if tokio::time::timeout(JOIN, wait).await.is_err() {
        warn!("threads of the data plane did not end within {JOIN:?}");
    }
}

#[cfg(test)]
mod tests;
