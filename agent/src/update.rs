//! The node's own update: takes Bottlerocket's A/B updates in turn with the fleet, judges them by the workloads after the
//! reboot, and takes them back.
//!
//! `machine` decides, purely; `policy` and `boot` are its two judgements. `task` does what it is told to through `host`
//! (the Bottlerocket API), `banks` (signpost), `fleet` (locks, refusals), `verify` (the health gate), `drain` and
//! `journal`. Receives how the rest of the agent is doing, emits the [`State`] and how this node's endpoints stand. Never
//! touches an endpoint or a table itself.

pub mod banks;
pub mod boot;
pub mod drain;
pub mod fleet;
pub mod host;
pub mod journal;
pub mod machine;
pub mod policy;
mod task;
pub mod verify;
pub mod view;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use self::machine::{Event, State};
pub use self::task::Task;
pub(crate) use self::task::now;

/// Orders that may wait.
const ORDERS: usize = 16;

/// What the rest of the agent has of the update.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Where the update stands.
    pub state: watch::Receiver<Arc<State>>,
    /// What is counted.
    pub metrics: Metrics,
    orders: mpsc::Sender<Order>,
}

/// What the update counts itself; everything else is read off its state.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Events that came where they cannot happen.
    pub illegal: Counter,
    /// Transitions from one place of the diagram to another.
    pub transitions: Counter,
}

impl Metrics {
    /// Registers every metric, without the agent's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("update_transitions", "Steps that the update took", self.transitions.clone());
        let help = "What happened where it cannot happen: each one is a bug in meshdog";
        registry.register("update_illegal_transitions", help, self.illegal.clone());
    }
}

/// What a person wants.
#[derive(Debug)]
struct Order {
    /// Hold, resume, allow or check.
    event: Event,
    /// Told once it is in the journal; else why it is not.
    done: oneshot::Sender<Result<(), Arc<str>>>,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It was heard, but a restart would forget it.
    #[error("this will be forgotten at the agent's next restart: {0}")]
    NotRecorded(Arc<str>),
    /// The task takes no orders: too many wait, or it has ended.
    #[error("the update takes no orders now; try again")]
    Deaf,
}

impl Handle {
    /// Carries out what a person wants: [`Event::Hold`], [`Event::Resume`], [`Event::Allow`] or [`Event::Check`].
    ///
    /// # Errors
    /// [`OrderError`]
    pub async fn order(&self, event: Event) -> Result<(), OrderError> {
        let (done, told) = oneshot::channel();
        self.orders.try_send(Order { event, done }).map_err(|_| OrderError::Deaf)?;
        told.await.map_err(|_| OrderError::Deaf)?.map_err(OrderError::NotRecorded)
    }
}

#[cfg(test)]
pub(crate) mod tests;
