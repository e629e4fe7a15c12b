//! The data plane: makes the kernel spread connections to VIPs over their endpoints, and answer DNS queries here while
//! the agent lives.
//!
//! Owns our tables, the resolver's address on `lo`, and hairpin mode of bridge ports, in every network namespace that has
//! clients. Receives [`Rulesets`], the namespaces and lease renewals, emits [`DataplaneState`] and the kernel's flow events.
//! Never touches anybody else's tables, and leaves its own in force when the agent ends: only [`uninstall`] removes them.
//!
//! `plan` (pure) says what to change, a [`backend`](self) makes the kernel change it: `nft`, or `memory`, which stands for
//! the kernel in tests and walks packets. `owner` is the task in between, one for each namespace; `namespaces` starts and
//! ends owners; `netns` is a namespace as a value.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use self::backend::Backend;
use self::netns::NetnsError;
use self::nft::Nft;
use self::owner::{LeaseChange, LeaseRequest};
use self::vantages::VantageError;
use crate::model::{QueryPath, Rulesets, VipRanges};

mod backend;
pub mod conntrack;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod links;
#[cfg(test)]
mod memory;
mod namespaces;
mod netlink;
pub mod netns;
mod nft;
mod owner;
mod plan;
mod state;
pub mod trace;
pub mod vantages;

pub use links::LinkError;
pub use namespaces::{Dataplane, Namespaces};
pub use nft::{Capability, NftError, probe};
pub use state::{DataplaneState, NamespaceState};

/// Packets of the agent's own sockets carry this mark (`SO_MARK`), so that its DNS queries are not captured. No bit of
/// the lower half, where others keep flags.
pub const AGENT_MARK: u32 = 0x6d64_0000;

/// The conntrack zone in which captured DNS queries are tracked.
pub const DNS_ZONE: u16 = 0x6d64;

/// How long queries are captured after a renewal of the lease.
pub const LEASE: Duration = Duration::from_secs(5);

/// Requests about the lease that may wait.
const LEASE_REQUESTS: usize = 4;

/// What the data plane needs to know once.
#[derive(Debug, Clone)]
pub struct DataplaneConfig {
    /// Where VIPs come from. Every address of them that nobody serves refuses. Each range has a table of its own.
    pub vip_ranges: VipRanges,
    /// Whether DNS queries are captured, while the lease is renewed.
    pub capture: bool,
    /// Where it counts.
    pub metrics: Metrics,
}

/// The data plane's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Seconds that it took to make the kernel hold a ruleset, whole or changes.
    pub reconcile: Histogram,
    /// Transactions that the kernel refused.
    pub failures: Counter,
    /// How often others' changes to our table were undone.
    pub repairs: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // 50 µs to 1.6 s
        let buckets = (0..16).map(|power| 50e-6 * f64::from(1 << power));
        Self { reconcile: Histogram::new(buckets), failures: Counter::default(), repairs: Counter::default() }
    }
}

impl Metrics {
    /// Registers the metrics under their names without the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let (reconcile, failures, repairs) = (self.reconcile.clone(), self.failures.clone(), self.repairs.clone());
        registry.register("reconcile_seconds", "Time to make the kernel hold what is desired", reconcile);
        registry.register("reconcile_failures", "Transactions that the kernel refused", failures);
        registry.register("repairs", "Changes by others to meshdog's table that were undone", repairs);
    }
}

/// Why the data plane cannot start, or could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's tables.
    #[error(transparent)]
    Backend(Box<dyn std::error::Error + Send + Sync>),
    /// A network namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The resolver's address.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The agent's vantages on bridges.
    #[error(transparent)]
    Vantage(#[from] VantageError),
    /// Connection tracking.
    #[error("cannot open a conntrack socket; the agent needs CAP_NET_ADMIN and the kernel nf_conntrack_netlink")]
    Conntrack(#[source] io::Error),
    /// An owner's runtime.
    #[error("cannot start the data plane's thread")]
    Thread(#[source] io::Error),
    /// It has ended.
    #[error("the data plane has stopped")]
    Stopped,
}

/// What others have of the running data plane.
#[derive(Debug, Clone)]
pub struct Handle {
    state: watch::Receiver<DataplaneState>,
    leases: mpsc::Sender<LeaseRequest>,
}

impl Handle {
    /// The state, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DataplaneState> {
        self.state.clone()
    }

    /// Lets DNS queries that come by these paths be captured for another [`LEASE`]; returns when the kernel has it. To be
    /// called about once a second by whoever answers the queries, with the paths by which an answer really came.
    ///
    /// # Errors
    /// The kernel refused, or the data plane has stopped.
    pub async fn renew_leases(&self, paths: Arc<[QueryPath]>) -> Result<(), Error> {
        self.change_leases(LeaseChange::Renew(paths, LEASE)).await
    }

    /// Ends the capture of DNS queries at once: for whoever is about to stop answering them.
    ///
    /// # Errors
    /// As [`Self::renew_leases`]; the capture then ends with its leases.
    pub async fn end_leases(&self) -> Result<(), Error> {
        self.change_leases(LeaseChange::End).await
    }

    async fn change_leases(&self, change: LeaseChange) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.leases.send(LeaseRequest { change, answer }).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }
}

/// Starts the data plane in every namespace that is there already; the part that is to be run, and what others have of it.
///
/// # Errors
/// The kernel lacks something, or the agent the right to it.
pub async fn start(
    config: DataplaneConfig,
    rulesets: watch::Receiver<Option<Rulesets>>,
    namespaces: watch::Receiver<Namespaces>,
) -> Result<(Dataplane, Handle), Error> {
    let (leases, inbox) = mpsc::channel(LEASE_REQUESTS);
    let (dataplane, state) = Dataplane::start(config, rulesets, namespaces, inbox).await?;
    Ok((dataplane, Handle { state, leases }))
}

/// Removes our tables and the resolver's addresses from the calling thread's network namespace. Open connections go on
/// while anybody else (Docker) translates addresses on this host; where nobody does, the kernel stops translating
/// altogether.
///
/// # Errors
/// What could not be removed.
pub async fn uninstall(vip_ranges: VipRanges) -> Result<(), Error> {
    let removed = Nft::open(vip_ranges, false).and_then(|mut tables| tables.remove());
    removed.map_err(|error| Error::Backend(Box::new(error)))?;
    for range in vip_ranges.iter() {
        links::remove_address(range.resolver()).await?;
    }
    Ok(vantages::uninstall().await?)
}

#[cfg(test)]
mod behaviour;
#[cfg(test)]
#[cfg(feature = "kernel")]
pub(crate) mod kernel_tests;
