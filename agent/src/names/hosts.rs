//! Mesh names in containers' hosts files: what stays when the agent dies, and needs no name server.
//!
//! Owns the lines between our two markers in the hosts files that Docker keeps for running containers. Receives the
//! names that are served, the containers and how Docker is; emits [`HostsState`]. Docker writes these files anew at a
//! container's start and adds to them when it joins a network, so each is looked at again on such a change, every
//! minute, and when dockerd comes back. Never follows a link, replaces a file, or touches what others wrote in it.
//!
//! The blocks stay when the agent ends. [`take_out`] removes them.

mod block;
mod blocks;
mod file;
mod root;
mod state;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch::error::RecvError;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::block::Block;
use self::blocks::Blocks;
use self::file::Held;
pub use self::file::{FileError, TakenOut, take_out};
pub use self::root::seen;
pub use self::state::{FileState, HostsMetrics, HostsState};
use self::wishes::Wishes;
use crate::clients::backoff::Backoff;
use crate::config::Auto;
use crate::model::label::DIAL;
use crate::model::{Container, ContainerId, Containers, HostsFile, Names, Namespace, Source, SourceState, error_chain};
use crate::names::served::Served;

/// Changes of names within so long are one: each may mean that all files are written.
const GATHER: Duration = Duration::from_millis(50);
/// How often every file is looked at, whatever is known.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long one file may take; a disk may hang.
const FILE_TIMEOUT: Duration = Duration::from_secs(5);
/// Files at once.
const FILES_AT_ONCE: usize = 8;
/// Before a file that failed is tried again.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long files that are being written may take at the end.
const LAST: Duration = Duration::from_secs(1);

/// How hosts files are written.
#[derive(Debug, Clone)]
pub struct HostsConfig {
    /// Whether at all (`dns.hosts`). Where not, what an earlier agent wrote is taken out.
    pub enabled: bool,
    /// Where Docker keeps its files (`paths.docker_root`).
    pub root: Auto<PathBuf>,
    /// The node's own namespace.
    pub namespace: Namespace,
    /// Where failures are counted.
    pub metrics: HostsMetrics,
}

/// What decides what stands in hosts files.
#[derive(Debug)]
pub struct HostsInputs {
    /// The names that are served; `None` until they are known, and no file is touched before.
    pub served: watch::Receiver<Option<Served>>,
    /// What Docker runs.
    pub containers: watch::Receiver<Option<Containers>>,
    /// How Docker is.
    pub docker: watch::Receiver<Source>,
}

/// Keeps hosts files until told to stop, or until who feeds it is gone.
pub async fn run(config: HostsConfig, inputs: HostsInputs, state: watch::Sender<HostsState>, stop: CancellationToken) {
    let HostsInputs { served: mut names, mut containers, mut docker } = inputs;
    let mut keeper = Keeper::new(config, state);
    let mut not_before = Instant::now();
    let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    names.mark_changed();
    containers.mark_changed();
    loop {
        let due = keeper.begin(Instant::now());
        let fed = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = keeper.jobs.join_next(), if !keeper.jobs.is_empty() => {
                if let Ok(ended) = ended {
                    keeper.ended(ended, Instant::now());
                }
                Ok(())
            }
            fed = changed(&mut names, not_before) => fed.map(|()| {
                not_before = Instant::now() + GATHER;
                keeper.names(names.borrow_and_update().as_ref().map(|served| served.names.clone()));
            }),
            fed = containers.changed() => fed.map(|()| keeper.containers(containers.borrow_and_update().as_ref())),
            fed = docker.changed() => fed.map(|()| {
                if docker.borrow_and_update().state == SourceState::Up {
                    keeper.look_at_all();
                }
            }),
            _ = look.tick() => {
                keeper.look_at_all();
                Ok(())
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Ok(()),
        };
        if fed.is_err() {
            break;
        }
    }
    // Cut short, a file keeps blank lines at its end. They do no harm.
    let _ = timeout(LAST, async { while keeper.jobs.join_next().await.is_some() {} }).await;
}

/// Waits for a change, but takes none before a moment. Cancelling loses nothing.
async fn changed<T>(of: &mut watch::Receiver<T>, not_before: Instant) -> Result<(), RecvError> {
    sleep_until(not_before).await;
    of.changed().await
}

/// A file that was looked at.
#[derive(Debug)]
struct Ended {
    owner: ContainerId,
    told: Told,
    /// `None`: not within its time.
    result: Option<Result<Held, FileError>>,
}

/// What a file was to tell.
#[derive(Debug, Clone)]
enum Told {
    /// A block; how many names there are, where they are too many for it.
    Block(Arc<Block>, Option<usize>),
    /// Nothing, and why.
    Nothing(Arc<str>),
}

impl Told {
    /// Whether a file that tells this need not be written for the other's sake.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Block(this, _), Self::Block(that, _)) => Arc::ptr_eq(this, that) || this.is(that),
            (Self::Nothing(_), Self::Nothing(_)) => true,
            (Self::Block(..), Self::Nothing(_)) | (Self::Nothing(_), Self::Block(..)) => false,
        }
    }

    fn block(&self) -> Option<Arc<Block>> {
        match self {
            Self::Block(block, _) => Some(Arc::clone(block)),
            Self::Nothing(_) => None,
        }
    }
}

/// One file.
#[derive(Debug, Default)]
struct HostsEntry {
    wishes: Wishes,
    /// It is being looked at.
    busy: bool,
    /// What it tells since the last look, or will after this one; `None` where that failed.
    told: Option<Told>,
    /// Failures since it was last well, and the last one.
    failures: u32,
    failure: Arc<str>,
    /// When it is tried again.
    again: Option<Instant>,
}

/// All files.
#[derive(Debug)]
struct Keeper {
    config: HostsConfig,
    state: watch::Sender<HostsState>,
    blocks: Option<Blocks>,
    /// Docker's root as it says, and as we see it.
    docker_root: Option<Arc<Path>>,
    root: Option<Arc<Path>>,
    running: OrdMap<ContainerId, Arc<Container>>,
    files: BTreeMap<ContainerId, HostsEntry>,
    /// Files to look at now, and later.
    due: BTreeSet<ContainerId>,
    later: BTreeSet<(Instant, ContainerId)>,
    jobs: JoinSet<Ended>,
    /// Held by a file until its work has really ended, though nobody may wait for it any more.
    permits: Arc<Semaphore>,
    root_failed: bool,
}

impl Keeper {
    fn new(config: HostsConfig, state: watch::Sender<HostsState>) -> Self {
        Self {
            root: seen(&config.root, None).map(Into::into),
            config,
            state,
            blocks: None,
            docker_root: None,
            running: OrdMap::new(),
            files: BTreeMap::new(),
            due: BTreeSet::new(),
            later: BTreeSet::new(),
            jobs: JoinSet::new(),
            permits: Arc::new(Semaphore::new(FILES_AT_ONCE)),
            root_failed: false,
        }
    }

    fn names(&mut self, names: Option<Names>) {
        let Some(names) = names else { return };
        self.blocks = Some(Blocks::new(names, self.config.namespace.clone()));
        let stays = |(owner, entry): &(&ContainerId, &HostsEntry)| {
            entry.told.as_ref().zip(self.told(owner)).is_some_and(|(before, now)| before.is(&now))
        };
        let due: Vec<_> = self.files.iter().filter(|file| !stays(file)).map(|(owner, _)| owner.clone()).collect();
        self.due.extend(due);
    }

    /// What runs now. Only what changed is gone through.
    fn containers(&mut self, now: Option<&Containers>) {
        let Some(now) = now else { return };
        let before = std::mem::replace(&mut self.running, now.running.clone());
        for change in before.diff(&now.running) {
            match change {
                DiffItem::Add(_, new) => self.add(new),
                DiffItem::Remove(_, old) => self.remove(old),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    if old.hosts != new.hosts {
                        self.remove(old);
                    }
                    // Docker has written the file anew, or added to it.
                    if old.hosts != new.hosts || old.started_ms != new.started_ms || old.network != new.network {
                        self.add(new);
                    }
                }
            }
        }
        if self.docker_root != now.root {
            self.docker_root.clone_from(&now.root);
            self.root = seen(&self.config.root, now.root.as_deref()).map(Into::into);
            self.look_at_all();
        }
    }

    fn add(&mut self, container: &Container) {
        let HostsFile::Docker(owner) = &container.hosts else { return };
        self.files.entry(owner.clone()).or_default().wishes.add(container);
        self.due.insert(owner.clone());
    }

    fn remove(&mut self, container: &Container) {
        let HostsFile::Docker(owner) = &container.hosts else { return };
        let Some(entry) = self.files.get_mut(owner) else { return };
        if entry.wishes.remove(&container.id) {
            self.due.insert(owner.clone());
            return;
        }
        if let Some(again) = entry.again {
            self.later.remove(&(again, owner.clone()));
        }
        self.files.remove(owner);
        self.due.remove(owner);
        self.state.send_if_modified(|state| state.files.remove(owner).is_some());
    }

    fn look_at_all(&mut self) {
        self.due.extend(self.files.keys().cloned());
    }

    /// Begins with as many of the files that are due as may be worked on. When the next one is due.
    fn begin(&mut self, now: Instant) -> Option<Instant> {
        while let Some((_, owner)) = self.later.first().filter(|(at, _)| *at <= now).cloned() {
            self.later.pop_first();
            if let Some(entry) = self.files.get_mut(&owner) {
                entry.again = None;
                self.due.insert(owner);
            }
        }
        while let Some(root) = self.root.clone()
            && let Some((owner, told)) = self.next()
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
        {
            self.due.remove(&owner);
            if let Some(entry) = self.files.get_mut(&owner) {
                (entry.busy, entry.told) = (true, Some(told.clone()));
            }
            let (container, block) = (owner.clone(), told.block());
            let work = spawn_blocking(move || {
                let _permit = permit;
                file::rewrite(&root, &container, block.as_deref())
            });
            self.jobs.spawn(async move {
                let result = timeout(FILE_TIMEOUT, work).await.ok().and_then(Result::ok);
                Ended { owner, told, result }
            });
        }
        self.later.first().map(|(at, _)| *at)
    }

    /// The first file that is due and not being looked at, and what it is to tell.
    fn next(&self) -> Option<(ContainerId, Told)> {
        let idle = |owner: &&ContainerId| self.files.get(*owner).is_some_and(|entry| !entry.busy);
        let owner = self.due.iter().find(idle)?;
        Some((owner.clone(), self.told(owner)?))
    }

    /// What a file is to tell; `None` while the names are not known.
    fn told(&self, owner: &ContainerId) -> Option<Told> {
        if !self.config.enabled {
            return Some(Told::Nothing("dns.hosts is false".into()));
        }
        let blocks = self.blocks.as_ref()?;
        Some(match self.files.get(owner)?.wishes.wanted() {
            Ok(dialled) => {
                let (block, of) = blocks.of(&dialled);
                Told::Block(block, of)
            }
            Err(why) => Told::Nothing(why.into()),
        })
    }

    fn ended(&mut self, ended: Ended, now: Instant) {
        let Ended { owner, told, result } = ended;
        let Some(entry) = self.files.get_mut(&owner) else { return };
        entry.busy = false;
        let state = match result {
            Some(Ok(held)) => {
                self.root_failed = false;
                if entry.failures > 1 {
                    info!(container = %owner, "the container's hosts file is written again");
                }
                entry.failures = 0;
                match told {
                    Told::Block(_, of) => FileState::Told { names: held.names, own: held.own, of },
                    Told::Nothing(why) => FileState::LeftAlone(why),
                }
            }
            Some(Err(error)) => {
                let of_root = error.is_of_root();
                self.failed(&owner, &error_chain(&error), of_root, now)
            }
            None => self.failed(&owner, &format!("it took more than {FILE_TIMEOUT:?}"), false, now),
        };
        self.state.send_if_modified(|now| now.files.insert(owner, state.clone()) != Some(state));
    }

    /// Counts and tells a failure, and lets the file be tried again.
    fn failed(&mut self, owner: &ContainerId, why: &str, of_root: bool, now: Instant) -> FileState {
        self.config.metrics.failures.inc();
        let why: Arc<str> = why.into();
        if let Some(entry) = self.files.get_mut(owner) {
            // Once is no failure to tell of: a container that ends takes its file with it before we hear of it.
            let news = entry.failures == 1 || entry.failures > 1 && entry.failure != why;
            if of_root && !std::mem::replace(&mut self.root_failed, true) {
                warn!(error = %why, "no hosts file can be written; trying again");
            } else if news && !of_root {
                warn!(container = %owner, error = %why, "cannot write mesh names into a hosts file; trying again");
            }
            let at = now + AGAIN.after(entry.failures);
            entry.told = None;
            (entry.failure, entry.failures) = (why.clone(), entry.failures.saturating_add(1));
            if let Some(before) = entry.again.replace(at) {
                self.later.remove(&(before, owner.clone()));
            }
            self.later.insert((at, owner.clone()));
        }
        FileState::Failing(why)
    }
}

#[cfg(test)]
mod tests;
