//! What the rest of the agent has of the update: its state, its counts, and a way to command it.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use super::machine::{Command, State};

/// Commands that may wait.
const WAITING: usize = 16;

/// What the rest of the agent has of the update.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Where the update is.
    pub state: watch::Receiver<Arc<State>>,
    /// What is counted.
    pub metrics: Metrics,
    requests: mpsc::Sender<Request>,
}

/// What the update counts itself; everything else is read off its state.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Events that came where they cannot happen.
    pub illegal: Counter,
    /// Transitions from one state of the diagram to another.
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

/// A command, and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    /// Told once it is in the journal; else why it is not.
    pub(super) done: oneshot::Sender<Result<(), Arc<str>>>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It was heard, but a restart would forget it.
    #[error("this will be forgotten at the agent's next restart: {0}")]
    NotRecorded(Arc<str>),
    /// The task takes no commands: too many wait, or it has ended.
    #[error("the update takes no orders now; try again")]
    Unavailable,
}

impl Handle {
    /// A handle on the task that has the other ends of this state and these counts; what that task receives.
    pub(super) fn new(state: watch::Receiver<Arc<State>>, metrics: Metrics) -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(WAITING);
        (Self { state, metrics, requests }, received)
    }

    /// Carries out what a person asks.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn command(&self, command: Command) -> Result<(), CommandError> {
        let (done, told) = oneshot::channel();
        self.requests.try_send(Request { command, done }).map_err(|_| CommandError::Unavailable)?;
        told.await.map_err(|_| CommandError::Unavailable)?.map_err(CommandError::NotRecorded)
    }
}
