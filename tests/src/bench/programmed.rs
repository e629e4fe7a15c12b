//! meshdog's own data plane, as the agent runs it, in a namespace of the benchmark's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use meshdog::dataplane::{self, DataplaneConfig, DataplaneState, Metrics};
use meshdog::model::Ruleset;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::netns::Netns;
use super::services::Services;

/// How long the kernel may take to hold a ruleset.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running data plane. It ends when this is dropped; what it programmed stays as long as the namespace.
#[derive(Debug)]
pub(crate) struct Programmed {
    rulesets: watch::Sender<Option<Arc<Ruleset>>>,
    state: watch::Receiver<DataplaneState>,
    runtime: Runtime,
}

impl Programmed {
    /// Starts the data plane in a namespace, where it changes nothing yet.
    pub(crate) fn start(netns: &Netns) -> Result<Self> {
        let config = DataplaneConfig { vip_cidr: Services::vip_cidr()?, capture: false, metrics: Metrics::default() };
        let (rulesets, wanted) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = netns.run(|| Ok(runtime.block_on(dataplane::spawn(config, wanted))?.state()))?;
        Ok(Self { rulesets, state, runtime })
    }

    /// Hands it a ruleset, and measures the time until it says that the kernel holds that.
    pub(crate) fn apply(&mut self, ruleset: Arc<Ruleset>) -> Result<Duration> {
        self.state.mark_unchanged();
        let begun = Instant::now();
        self.rulesets.send_replace(Some(ruleset));
        let state = &mut self.state;
        let in_sync = async move {
            loop {
                state.changed().await.context("the data plane has ended")?;
                let state = state.borrow_and_update();
                if state.in_sync {
                    return Ok(begun.elapsed());
                }
                if state.failures > 0 {
                    bail!("the kernel refused the ruleset");
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, in_sync).await })?
    }
}
