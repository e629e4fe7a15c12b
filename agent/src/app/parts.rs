//! The agent's parts as running tasks: started together, stopped in order, joined within a bound.
//!
//! Owns every task of the agent and what tells it to stop. A part that ends though nobody told it to ends the agent, and
//! why it ended is the agent's error.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How long the parts of one stage may take to end, once told to.
const JOIN: Duration = Duration::from_secs(3);

/// When a part is told to stop: stage by stage, each joined before the next is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// What captures containers' queries: their own servers answer from then on.
    Capture,
    /// What answers the queries that were captured before.
    Answers,
    /// Everything else.
    Rest,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Capture, Self::Answers, Self::Rest];
}

/// Why the agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A part ended though nobody told it to: whoever feeds it has ended.
    #[error("{0} ended: nothing feeds it any more; the host restarts the agent, and the kernel goes on balancing")]
    Starved(&'static str),
    /// A part panicked.
    #[error("{part} panicked; the host restarts the agent, and the kernel goes on balancing")]
    Panicked {
        /// The part.
        part: &'static str,
        /// The task's error.
        source: JoinError,
    },
    /// Signals.
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Parts that are to run, each with its stage and its name.
#[derive(Default)]
pub(super) struct Parts {
    work: Vec<(Stage, &'static str, Work)>,
    stops: [CancellationToken; Stage::ALL.len()],
}

impl Parts {
    /// Adds a part that ends soon after it is told to.
    pub(super) fn add<F>(&mut self, stage: Stage, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = run(self.stops[stage as usize].clone());
        self.work.push((stage, name, Box::pin(work)));
    }

    /// Adds a part that has nothing to finish: it is dropped when it is told to stop.
    pub(super) fn add_until_stopped(
        &mut self,
        stage: Stage,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.add(stage, name, |stop| async move {
            let _ = stop.run_until_cancelled_owned(work).await;
        });
    }

    /// Runs all parts until a signal to stop or the end of one of them; then stops and joins the others, in order.
    ///
    /// # Errors
    /// A part ended by itself.
    pub(super) async fn run(self) -> Result<(), PartError> {
        let Self { work, stops } = self;
        let mut running = Running::default();
        for (stage, name, work) in work {
            let task = running.tasks.spawn(work);
            running.parts.insert(task.id(), (stage, name));
        }
        let ended = running.first_end().await;
        for stage in Stage::ALL {
            stops[stage as usize].cancel();
            running.join(stage).await;
        }
        ended
    }
}

/// The tasks of the parts that have not ended.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    parts: HashMap<Id, (Stage, &'static str)>,
}

impl Running {
    /// Waits for a signal to stop, or for a part to end.
    async fn first_end(&mut self) -> Result<(), PartError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(PartError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(PartError::Signal)?;
        // Unhandled it would end the agent, and people send it to have a configuration read again.
        let mut hangup = signal(SignalKind::hangup()).map_err(PartError::Signal)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                Some(()) = hangup.recv() => {
                    warn!("SIGHUP changes nothing: the configuration is read when the agent starts; restart it");
                }
                Some((part, result)) = self.next_end() => return Err(match result {
                    Ok(()) => PartError::Starved(part),
                    Err(source) => PartError::Panicked { part, source },
                }),
            }
        }
    }

    /// The next part that ends; `None` when all have.
    async fn next_end(&mut self) -> Option<(&'static str, Result<(), JoinError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        let (_, part) = self.parts.remove(&id).unwrap_or((Stage::Rest, "a part"));
        Some((part, result))
    }

    /// Waits until all parts of a stage have ended, within the bound; others may end meanwhile.
    async fn join(&mut self, stage: Stage) {
        let until = Instant::now() + JOIN;
        while self.parts.values().any(|(of, _)| *of == stage) {
            match timeout_at(until, self.next_end()).await {
                Ok(Some((part, Err(error)))) => error!(part, %error, "a part panicked while the agent was stopping"),
                Ok(Some((_, Ok(())))) => {}
                Ok(None) => return,
                Err(_) => {
                    let late: Vec<_> =
                        self.parts.values().filter(|(of, _)| *of == stage).map(|(_, part)| *part).collect();
                    warn!(parts = ?late, "parts did not stop within {JOIN:?}; going on without them");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
