//! What Docker runs.
//!
//! Owns the connection to dockerd. Subscribes to events, then lists, then follows; after every reconnection it lists
//! again. Emits [`Containers`] and the source's state. dockerd absent, slow or restarted is a state, and what was
//! published last stands meanwhile. Never changes anything in Docker.

mod budget;
mod events;
mod history;
mod images;
mod inspect;
mod jobs;
mod listed;
mod service_names;
mod signal;
mod state;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::{API_DEFAULT_VERSION, Docker as Client};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tracing::warn;

use self::events::{DockerEvent, Events, EventsError};
pub use self::jobs::RootError;
use self::jobs::{CALL_TIMEOUT, JobAnswer, Jobs, LIST_TIMEOUT};
use self::listed::Listed;
use self::state::{Ask, DockerState, Drift, DriftKind};
use crate::clients::backoff::Backoff;
use crate::model::{Containers, Source, SourceState, error_chain};
use crate::sources::ecs::Ecs;
use crate::until::until;

/// How often a silent dockerd is asked whether it still lives: an event stream may be silent for days.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How often all is listed again, a tenth more or less: events get lost, and their stream may be silent for no good reason.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Containers that one line of the log names.
const NAMED: usize = 8;
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
    #[error("dockerd did not answer {what} within {within:?}; see whether it hangs")]
    Silent { what: &'static str, within: Duration },
    #[error("dockerd did not answer a ping")]
    Ping(#[source] bollard::errors::Error),
    #[error("more than {MAX_EARLY} events while Docker was listing its containers")]
    Flood,
    #[error("a request to Docker was lost")]
    Lost(#[from] tokio::task::JoinError),
}

impl Error {
    fn silent(what: &'static str, within: Duration) -> Self {
        Self::Silent { what, within }
    }
}

/// Counts of what is heard of Docker. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct DockerMetrics {
    drift: Counter,
}

impl DockerMetrics {
    /// Registers `source_drift_total`; the registry adds the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Things that a source's events had not told and a look at everything found";
        let of_docker = registry.sub_registry_with_label(("source".into(), "docker".into()));
        of_docker.register("source_drift", help, self.drift.clone());
    }
}

/// How Docker is to be followed.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// dockerd's socket.
    pub socket: PathBuf,
    /// Whether labels that are baked into an image count.
    pub image_labels: bool,
    /// What is counted.
    pub metrics: DockerMetrics,
}

/// The task that owns dockerd's socket.
#[derive(Debug)]
pub struct Docker {
    config: DockerConfig,
    ecs: Ecs,
    state: DockerState,
    containers: watch::Sender<Option<Containers>>,
    source: watch::Sender<Source>,
}

/// What one connection is about.
struct Connection {
    jobs: Jobs,
    /// Events that came before the first list; `None` since.
    early: Option<Vec<DockerEvent>>,
    /// When all is listed again; `None` while a list is being made.
    look: Option<Instant>,
    /// How often Docker has not said where it keeps its files.
    no_root: u32,
}

impl Docker {
    /// The task, not yet running; what it publishes: `None` until the first full list.
    #[must_use]
    pub fn new(config: DockerConfig, ecs: Ecs) -> (Self, watch::Receiver<Option<Containers>>, watch::Receiver<Source>) {
        let (containers, containers_out) = watch::channel(None);
        let (source, source_out) = watch::channel(Source::starting());
        let state = DockerState::new(config.image_labels);
        (Self { config, ecs, state, containers, source }, containers_out, source_out)
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
        let (mut events, mut to) = self.connect().await?;
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.state.due();
            tokio::select! {
                // Events first: a stop that has begun must be known before anything else is done.
                biased;
                event = events.next() => match &mut to.early {
                    Some(early) if early.len() == MAX_EARLY => return Err(Error::Flood),
                    Some(early) => early.push(event?),
                    None => self.apply(event?, &mut to.jobs),
                },
                Some(answer) = to.jobs.next() => self.answered(answer?, &mut to)?,
                () = until(due) => self.fall_due(Instant::now(), &mut to.jobs),
                () = until(to.look) => {
                    to.look = None;
                    self.state.begin_look();
                    to.jobs.list();
                    to.jobs.ask(self.state.ask_bridges());
                }
                _ = ping.tick() => to.jobs.ping(),
            }
            if let Some(snapshot) = self.state.take() {
                self.containers.send_replace(Some(snapshot));
                self.name_refused();
            }
        }
    }

    /// Subscribes to events, then asks for everything.
    async fn connect(&mut self) -> Result<(Events, Connection), Error> {
        let socket = &self.config.socket;
        let unreachable = |source| Error::Connect { socket: socket.clone(), source };
        // Each request has a bound of its own, which includes the reading of the answer.
        let longest = 2 * LIST_TIMEOUT.as_secs();
        let client =
            Client::connect_with_unix(&socket.to_string_lossy(), longest, API_DEFAULT_VERSION).map_err(unreachable)?;
        let client = timeout(CALL_TIMEOUT, client.negotiate_version())
            .await
            .map_err(|_| Error::silent("which API it speaks", CALL_TIMEOUT))?
            .map_err(unreachable)?;
        let api = client.client_version().to_string();
        let events = timeout(CALL_TIMEOUT, Events::open(socket, &api))
            .await
            .map_err(|_| Error::silent("a subscription to events", CALL_TIMEOUT))??;
        let mut jobs = Jobs::new(client, self.ecs.clone());
        jobs.list();
        jobs.list_ended();
        jobs.ask(self.state.ask_bridges());
        jobs.ask(Ask::Root);
        Ok((events, Connection { jobs, early: Some(Vec::new()), look: None, no_root: 0 }))
    }

    fn apply(&mut self, event: DockerEvent, jobs: &mut Jobs) {
        self.state.note(&event, wall_ms());
        if let Some(ask) = self.state.apply(event, Instant::now()) {
            jobs.ask(ask);
        }
    }

    fn fall_due(&mut self, now: Instant, jobs: &mut Jobs) {
        self.state.expire(now);
        let drifted = self.state.drifted(now);
        if drifted.is_empty() {
            return;
        }
        self.config.metrics.drift.inc_by(u64::try_from(drifted.len()).unwrap_or(u64::MAX));
        let named = |drift: &Drift| format!("{} {}", drift.id, drift.kind.as_str());
        let what = drifted.iter().take(NAMED).map(named).collect::<Vec<_>>().join(", ");
        warn!(containers = drifted.len(), what, "Docker's list tells of things that its events had not told");
        if drifted.iter().any(|drift| drift.kind == DriftKind::Gone) {
            jobs.list_ended();
        }
    }

    fn name_refused(&mut self) {
        let refused = self.state.refused();
        if refused.is_empty() {
            return;
        }
        let named = |(id, services): &(_, _)| format!("{services} of {id}");
        let what = refused.iter().take(NAMED).map(named).collect::<Vec<_>>().join(", ");
        warn!(
            containers = refused.len(),
            what,
            "the labels of this node's containers ask for more names than it has room for, and these services are left \
             out; have fewer services or aliases, or run some containers elsewhere"
        );
    }

    /// A list came: the connection's first, or one to compare with what is known.
    fn listed(&mut self, list: Vec<Listed>, to: &mut Connection) {
        let now = Instant::now();
        let asks = match to.early {
            Some(_) => self.state.listed(list, now),
            None => self.state.looked(list, now),
        };
        for ask in asks {
            to.jobs.ask(ask);
        }
        for event in to.early.take().unwrap_or_default() {
            self.apply(event, &mut to.jobs);
        }
        to.look = Some(now + LOOK_EVERY.mul_f64(0.9 + 0.2 * fastrand::f64()));
        self.enter(SourceState::Up);
    }

    fn answered(&mut self, answer: JobAnswer, to: &mut Connection) -> Result<(), Error> {
        let now = Instant::now();
        match answer {
            JobAnswer::Listed(list) => {
                let list = list.ok_or(Error::silent("a list of containers", LIST_TIMEOUT))?;
                self.listed(list.map_err(|source| Error::List { what: "containers", source })?, to);
            }
            JobAnswer::Ended(ended) => self.state.ended(ended, wall_ms()),
            JobAnswer::Inspected(id, ticket, Ok(inspected)) => {
                if let Some(ask) = self.state.inspected(&id, ticket, inspected, now) {
                    to.jobs.ask(ask);
                }
            }
            JobAnswer::Inspected(id, ticket, Err(reason)) => {
                if let Some((again, failures)) = self.state.not_inspected(&id, ticket, now) {
                    if failures == 1 {
                        warn!(container = %id, %reason, "cannot inspect a container in Docker; trying again");
                    }
                    to.jobs.ask_after(again, INSPECT_AGAIN.after(failures.saturating_sub(1)));
                }
            }
            JobAnswer::Bridges(ticket, bridges) => {
                let bridges = bridges.ok_or(Error::silent("a list of networks", LIST_TIMEOUT))?;
                self.state.bridges(ticket, bridges.map_err(|source| Error::List { what: "networks", source })?, now);
            }
            JobAnswer::Root(Ok(root)) => self.state.root(root, now),
            JobAnswer::Root(Err(error)) => {
                if to.no_root == 0 {
                    let error = error_chain(&error);
                    warn!(error, "no hosts file is written until Docker says where it keeps them; asking again");
                }
                to.jobs.ask_after(Ask::Root, INSPECT_AGAIN.after(to.no_root));
                to.no_root = to.no_root.saturating_add(1);
            }
            JobAnswer::Ports(id, ticket, ports) => self.state.ports(&id, ticket, ports, now),
            JobAnswer::Pong(Some(pong)) => pong.map_err(Error::Ping)?,
            JobAnswer::Pong(None) => return Err(Error::silent("a ping", CALL_TIMEOUT)),
        }
        for ask in self.state.further() {
            to.jobs.ask(ask);
        }
        Ok(())
    }

    fn enter(&self, state: SourceState) {
        super::enter(&self.source, "docker", |_| state);
    }
}

/// The time in milliseconds since the Unix epoch.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
