//! meshdog's own data plane, as the agent runs it, in a namespace of the benchmark's.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use meshdog::dataplane::{self, DataplaneConfig, DataplaneState, Metrics};
use meshdog::model::{Rulesets, View, VipRanges};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::netns::Netns;
use super::services::Services;

/// How long the kernel may take to hold a ruleset.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running data plane. It ends when this is dropped; what it programmed stays as long as the namespace.
#[derive(Debug)]
pub(crate) struct Programmed {
    rulesets: watch::Sender<Option<Rulesets>>,
    state: watch::Receiver<DataplaneState>,
    stop: CancellationToken,
    part: tokio::task::JoinHandle<()>,
    runtime: Runtime,
}

impl Programmed {
    /// Starts the data plane in a namespace, where it changes nothing yet.
    pub(crate) fn start(netns: &Netns) -> Result<Self> {
        let vip_ranges = VipRanges::new(Services::vip_cidr()?, None).context("an IPv4 range")?;
        let config = DataplaneConfig { vip_ranges, capture: false, metrics: Metrics::default() };
        let (rulesets, wanted) = watch::channel(None);
        let here = dataplane::netns::Netns::open(std::path::Path::new(&netns.path()))?;
        let (_namespaces, namespaces) = watch::channel([(here.id(), (here, View::Node))].into());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (part, handle) = runtime.block_on(dataplane::start(config, wanted, namespaces))?;
        let stop = CancellationToken::new();
        let part = runtime.spawn(part.run(stop.clone()));
        Ok(Self { rulesets, state: handle.state(), stop, part, runtime })
    }

    /// Hands it a ruleset, and measures the time until it says that the kernel holds that.
    pub(crate) fn apply(&mut self, rulesets: Rulesets) -> Result<Duration> {
        self.state.mark_unchanged();
        let begun = Instant::now();
        self.rulesets.send_replace(Some(rulesets));
        let state = &mut self.state;
        let in_sync = async move {
            loop {
                state.changed().await.context("the data plane has ended")?;
                let state = state.borrow_and_update();
                if state.in_sync() {
                    return Ok(begun.elapsed());
                }
                if state.failures() > 0 {
                    bail!("the kernel refused the ruleset");
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, in_sync).await })?
    }
}

impl Drop for Programmed {
    fn drop(&mut self) {
        self.stop.cancel();
        // Its threads end with it.
        let _ = self.runtime.block_on(&mut self.part);
    }
}
