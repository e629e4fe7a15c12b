//! What Docker runs.
//!
//! Owns the connection to dockerd. Subscribes to events, then lists, then follows; after every reconnection it lists
//! again. Emits [`Containers`] and the source's state. dockerd absent, slow or restarted is a state, and what was
//! published last stands meanwhile. Never changes anything in Docker.

mod events;
mod inspect;
mod jobs;
mod signal;
mod state;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker as Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tracing::warn;

use self::events::{DockerEvent, Events, EventsError};
pub use self::jobs::RootError;
use self::jobs::{CALL_TIMEOUT, JobAnswer, Jobs};
use self::state::{Ask, DockerState};
use crate::clients::backoff::Backoff;
use crate::model::{Containers, Source, SourceState, error_chain};
use crate::sources::ecs::Ecs;

/// How long it may take over any answer, a list of everything included.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a silent dockerd is asked whether it still lives: an event stream may be silent for days.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Before a reconnection: everybody who uses dockerd comes back when it does.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1)).jittered();
/// Before a failed inspection is tried again.
const INSPECT_AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Events that are kept while a list is being made.
const MAX_EARLY: usize = 65_536;

/// Why there is no connection to dockerd.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot reach dockerd at {}; check paths.docker_socket and that Docker runs", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: bollard::errors::Error,
    },
    #[error("cannot follow Docker's events")]
    Events(#[from] EventsError),
    #[error("cannot list Docker's {what}")]
    List {
        what: &'static str,
        #[source]
        source: bollard::errors::Error,
    },
    #[error("dockerd did not answer {0} within {CALL_TIMEOUT:?}; see whether it hangs")]
    Silent(&'static str),
    #[error("dockerd did not answer a ping")]
    Ping(#[source] bollard::errors::Error),
    #[error("more than {MAX_EARLY} events while Docker was listing its containers")]
    Flood,
    #[error("a request to Docker was lost")]
    Lost(#[from] tokio::task::JoinError),
}

/// The task that owns dockerd's socket.
#[derive(Debug)]
pub struct Docker {
    socket: PathBuf,
    ecs: Ecs,
    state: DockerState,
    containers: watch::Sender<Option<Containers>>,
    source: watch::Sender<Source>,
}

impl Docker {
    /// The task, not yet running; what it publishes: `None` until the first full list.
    #[must_use]
    pub fn new(socket: PathBuf, ecs: Ecs) -> (Self, watch::Receiver<Option<Containers>>, watch::Receiver<Source>) {
        let (containers, containers_out) = watch::channel(None);
        let (source, source_out) = watch::channel(Source::starting());
        (Self { socket, ecs, state: DockerState::default(), containers, source }, containers_out, source_out)
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let mut delays = RECONNECT.delays();
        loop {
            let Err(error) = Box::pin(self.follow()).await;
            if self.source.borrow().state == SourceState::Up {
                delays.reset();
            }
            self.enter(SourceState::down(&error));
            sleep(delays.wait()).await;
        }
    }

    /// One connection, until it breaks.
    async fn follow(&mut self) -> Result<Infallible, Error> {
        let socket = self.socket.clone();
        let unreachable = |source| Error::Connect { socket: socket.clone(), source };
        let client =
            Client::connect_with_unix(&self.socket.to_string_lossy(), LIST_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
                .map_err(unreachable)?;
        let client = timeout(CALL_TIMEOUT, client.negotiate_version())
            .await
            .map_err(|_| Error::Silent("which API it speaks"))?
            .map_err(unreachable)?;
        let api = client.client_version().to_string();
        let mut events = timeout(CALL_TIMEOUT, Events::open(&self.socket, &api))
            .await
            .map_err(|_| Error::Silent("a subscription to events"))??;

        let mut jobs = Jobs::new(client, self.ecs.clone());
        jobs.list();
        jobs.ask(self.state.connected());
        jobs.ask(Ask::Root);
        let mut no_root = 0;
        let mut early = Some(Vec::new());
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.state.due();
            tokio::select! {
                // Events first: a stop that has begun must be known before anything else is done.
                biased;
                event = events.next() => match &mut early {
                    Some(early) if early.len() == MAX_EARLY => return Err(Error::Flood),
                    Some(early) => early.push(event?),
                    None => self.apply(event?, &mut jobs),
                },
                Some(answer) = jobs.next() => self.answered(answer?, &mut jobs, &mut early, &mut no_root)?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.state.expire(Instant::now()),
                _ = ping.tick() => jobs.ping(),
            }
            if let Some(snapshot) = self.state.take() {
                self.containers.send_replace(Some(snapshot));
            }
        }
    }

    fn apply(&mut self, event: DockerEvent, jobs: &mut Jobs) {
        if let Some(ask) = self.state.apply(event, Instant::now()) {
            jobs.ask(ask);
        }
    }

    fn answered(
        &mut self,
        answer: JobAnswer,
        jobs: &mut Jobs,
        early: &mut Option<Vec<DockerEvent>>,
        no_root: &mut u32,
    ) -> Result<(), Error> {
        let now = Instant::now();
        match answer {
            JobAnswer::Listed(list) => {
                let ids = list.map_err(|source| Error::List { what: "containers", source })?;
                for ask in self.state.listed(ids, now) {
                    jobs.ask(ask);
                }
                for event in early.take().unwrap_or_default() {
                    self.apply(event, jobs);
                }
                self.enter(SourceState::Up);
            }
            JobAnswer::Inspected(id, ticket, Ok(inspected)) => {
                if let Some(ask) = self.state.inspected(&id, ticket, inspected, now) {
                    jobs.ask(ask);
                }
            }
            JobAnswer::Inspected(id, ticket, Err(reason)) => {
                if let Some((again, failures)) = self.state.not_inspected(&id, ticket, now) {
                    if failures == 1 {
                        warn!(container = %id, %reason, "cannot inspect a container in Docker; trying again");
                    }
                    jobs.ask_after(again, INSPECT_AGAIN.after(failures.saturating_sub(1)));
                }
            }
            JobAnswer::Bridges(ticket, bridges) => {
                let bridges = bridges.map_err(|source| Error::List { what: "networks", source })?;
                self.state.bridges(ticket, bridges, now);
            }
            JobAnswer::Root(Ok(root)) => self.state.root(root, now),
            JobAnswer::Root(Err(error)) => {
                if *no_root == 0 {
                    let error = error_chain(&error);
                    warn!(error, "no hosts file is written until Docker says where it keeps them; asking again");
                }
                jobs.ask_after(Ask::Root, INSPECT_AGAIN.after(*no_root));
                *no_root = no_root.saturating_add(1);
            }
            JobAnswer::Ports(id, ticket, ports) => self.state.ports(&id, ticket, ports, now),
            JobAnswer::Pong(Some(pong)) => pong.map_err(Error::Ping)?,
            JobAnswer::Pong(None) => return Err(Error::Silent("a ping")),
        }
        Ok(())
    }

    fn enter(&self, state: SourceState) {
        super::enter(&self.source, "docker", |_| state);
    }
}

/// Asks the dockerd behind a socket where it keeps its files, as the host sees it.
///
/// # Errors
/// It does not answer, or names no directory.
pub async fn root(socket: &Path) -> Result<Arc<Path>, RootError> {
    let client = Client::connect_with_unix(&socket.to_string_lossy(), CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)?;
    jobs::root(&timeout(CALL_TIMEOUT, client.negotiate_version()).await??).await
}

#[cfg(test)]
mod tests;
