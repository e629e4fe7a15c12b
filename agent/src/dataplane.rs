//! The data plane: makes the kernel spread connections to VIPs over their endpoints, and answer DNS queries here while
//! the agent lives.
//!
//! Owns our nftables table, the resolver's address on `lo`, and hairpin mode of bridge ports. Receives [`Ruleset`]s and
//! lease renewals, emits [`DataplaneState`]. Never touches anybody else's tables, and leaves its own in force when the
//! agent ends: only [`uninstall`] removes them.
//!
//! `plan` (pure) says what to change, `nft` makes the kernel change it, `owner` is the task in between; `fake` stands
//! for the kernel in tests and walks packets. A later data plane (a hook at `connect()`, say) takes the same plans.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::{Ruleset, VipCidr};

pub mod conntrack;
#[cfg(test)]
mod fake;
mod links;
mod netlink;
mod nft;
mod owner;
mod plan;
mod size;

pub use links::LinkError;
pub use nft::NftError;
pub use nft::probe::{Capability, probe};

/// Packets of the agent's own sockets carry this mark (`SO_MARK`), so that its DNS queries are not captured. No bit of
/// the lower half, where others keep flags.
pub const AGENT_MARK: u32 = 0x6d64_0000;

/// The port on which the agent's resolver listens at [`VipCidr::resolver`], TCP and UDP: captured queries go there.
pub const RESOLVER_PORT: u16 = 15053;

/// The conntrack zone in which captured DNS queries are tracked.
pub const DNS_ZONE: u16 = 0x6d64;

/// How long queries are captured after a renewal of the lease.
pub const LEASE: Duration = Duration::from_secs(5);

/// Orders about the lease that may wait for the owner.
const LEASE_ORDERS: usize = 4;

/// What the data plane needs to know once.
#[derive(Debug, Clone)]
pub struct DataplaneConfig {
    /// Where VIPs come from. Every address of it that nobody serves refuses.
    pub vip_cidr: VipCidr,
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

/// What the data plane says of itself.
#[derive(Debug, Clone, Default)]
pub struct DataplaneState {
    /// Whether the kernel holds the latest ruleset.
    pub in_sync: bool,
    /// The ruleset that the kernel is known to hold.
    pub applied: Option<Arc<Ruleset>>,
    /// How long the latest successful write took.
    pub last_apply: Option<Duration>,
    /// Successful writes.
    pub applies: u64,
    /// How often others' changes were undone.
    pub repairs: u64,
    /// Transactions that failed.
    pub failures: u64,
}

impl DataplaneState {
    /// What programs the kernel.
    pub const BACKEND: &str = "nftables";
    /// How many network namespaces are programmed: the host's.
    pub const NAMESPACES: u32 = 1;
}

/// Why the data plane cannot start, or could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's tables.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The resolver's address.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Connection tracking.
    #[error("cannot open a conntrack socket; the agent needs CAP_NET_ADMIN and the kernel nf_conntrack_netlink")]
    Conntrack(#[source] io::Error),
    /// The owner's thread.
    #[error("cannot start the data plane's thread")]
    Thread(#[source] io::Error),
    /// The owner's thread has ended.
    #[error("the data plane has stopped")]
    Stopped,
}

/// The running data plane. It ends when the rulesets' sender is gone.
#[derive(Debug, Clone)]
pub struct Handle {
    state: watch::Receiver<DataplaneState>,
    leases: mpsc::Sender<owner::LeaseOrder>,
}

impl Handle {
    /// The state, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DataplaneState> {
        self.state.clone()
    }

    /// Lets DNS queries be captured for another [`LEASE`]; returns when the kernel has it. To be called about once a
    /// second by whoever answers the queries, and only while it can.
    ///
    /// # Errors
    /// The kernel refused, or the data plane has stopped.
    pub async fn renew_lease(&self) -> Result<(), Error> {
        self.set_lease(Some(LEASE)).await
    }

    /// Ends the capture of DNS queries at once: for whoever is about to stop answering them.
    ///
    /// # Errors
    /// As [`Self::renew_lease`]; the capture then ends with its lease.
    pub async fn end_lease(&self) -> Result<(), Error> {
        self.set_lease(None).await
    }

    async fn set_lease(&self, lease: Option<Duration>) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        self.leases.send(owner::LeaseOrder { lease, tell }).await.map_err(|_| Error::Stopped)?;
        Ok(told.await.map_err(|_| Error::Stopped)??)
    }
}

/// Starts the data plane in the calling thread's network namespace. Returns when its sockets are open, a former agent's
/// table is adopted, and the resolver's address is there to be bound. The kernel is not changed before the first
/// ruleset.
///
/// # Errors
/// The kernel lacks something, or the agent the right to it.
pub async fn spawn(config: DataplaneConfig, rulesets: watch::Receiver<Option<Arc<Ruleset>>>) -> Result<Handle, Error> {
    let (publish, state) = watch::channel(DataplaneState::default());
    let (leases, inbox) = mpsc::channel(LEASE_ORDERS);
    let (tell, started) = oneshot::channel();
    let inputs = owner::Inputs { rulesets, leases: inbox };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let owner = move || {
        runtime.block_on(async {
            match owner::Owner::start(config, inputs, publish).await {
                Ok(owner) => {
                    let _ = tell.send(Ok(()));
                    owner.run().await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    };
    std::thread::Builder::new().name("dataplane".to_owned()).spawn(owner).map_err(Error::Thread)?;
    started.await.map_err(|_| Error::Stopped)??;
    Ok(Handle { state, leases })
}

/// Removes our table and the resolver's address. Open connections go on while anybody else (Docker) translates
/// addresses on this host; where nobody does, the kernel stops translating altogether.
///
/// # Errors
/// What could not be removed.
pub async fn uninstall(vip_cidr: VipCidr) -> Result<(), Error> {
    nft::delete_table()?;
    Ok(links::remove_address(vip_cidr.resolver()).await?)
}

#[cfg(test)]
#[cfg(feature = "kernel")]
mod kernel_tests;
#[cfg(test)]
#[cfg(feature = "kernel")]
pub(crate) mod netns;
