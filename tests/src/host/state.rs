//! What the simulated host remembers, behind one lock: its servers and the tests that steer it all write to it.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bottlerocket_settings::Image;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::datastore;
use super::imds::Instance;
use super::introspection::Task;
use super::serve::{Presence, Server};
use super::store::{self, Store};
use super::updates::Updater;
use crate::disk::running::Running;

/// How many requests are remembered.
const MAX_REQUESTS: usize = 10_000;

/// How long a change of presence may take.
const KEPT: Duration = Duration::from_secs(5);

/// What `/os` says. Source: core-kit `sources/bottlerocket-release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the answer")]
pub struct Os {
    pub arch: String,
    pub build_id: String,
    pub pretty_name: String,
    pub variant_id: String,
    pub version_id: String,
}

impl Os {
    /// An OS of this variant and version.
    #[must_use]
    pub fn new(variant: &str, version: &str) -> Self {
        Self {
            arch: "x86_64".to_owned(),
            build_id: "00000000".to_owned(),
            pretty_name: format!("Bottlerocket OS {version} ({variant})"),
            variant_id: variant.to_owned(),
            version_id: version.to_owned(),
        }
    }
}

impl Default for Os {
    fn default() -> Self {
        Self::new("aws-ecs-2", "1.20.5")
    }
}

impl From<&Image> for Os {
    fn from(image: &Image) -> Self {
        Self { arch: image.arch.clone(), ..Self::new(&image.variant, &image.version) }
    }
}

impl From<&Os> for Image {
    fn from(os: &Os) -> Self {
        Self { arch: os.arch.clone(), version: os.version_id.clone(), variant: os.variant_id.clone() }
    }
}

/// A request that was made, and its answer's status.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// Of whom.
    pub server: Server,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub uri: String,
    /// Its body, if it is text.
    pub body: String,
    /// What was answered.
    pub status: u16,
}

/// An answer that is made to go wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whose answer.
    #[serde(default)]
    pub server: Server,
    /// To requests whose path begins so.
    #[serde(default)]
    pub path: String,
    /// The status instead; none: the true answer, only late.
    pub status: Option<u16>,
    /// The body instead.
    #[serde(default)]
    pub text: String,
    /// How late the answer is.
    #[serde(default)]
    pub delay_ms: u64,
    /// How many answers; none: all.
    pub times: Option<u32>,
}

/// What becomes of the program that applies settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applier {
    /// It works.
    #[default]
    Works,
    /// It cannot fork.
    Fails,
    /// It is not there.
    Missing,
}

/// The whole of it.
#[derive(Debug)]
pub struct State {
    /// Settings and transactions.
    pub store: Store,
    /// The file in which settings outlive this process.
    pub datastore: Option<PathBuf>,
    /// The updater.
    pub updater: Updater,
    /// What runs.
    pub os: Os,
    /// From which bank of which disk; none: this host has no disk.
    pub running: Option<Running>,
    /// What the metadata service says.
    pub instance: Instance,
    /// Tokens that the metadata service gave out.
    pub tokens: HashSet<String>,
    /// ECS tasks, as tests say.
    pub tasks: Vec<Task>,
    /// dockerd's socket: where set, tasks are derived from what it runs.
    pub docker: Option<PathBuf>,
    /// What applies settings.
    pub applier: Applier,
    /// The names of the settings that each apply was given; none: all.
    pub applied: Vec<Option<Vec<String>>>,
    /// What was asked, oldest first.
    pub asked: VecDeque<Asked>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Where everything is kept.
    pub dir: PathBuf,
    /// What a reboot runs.
    pub reboot: Option<PathBuf>,
    /// Reboots that were accepted.
    pub reboots: u32,
}

impl State {
    /// A host at rest.
    #[must_use]
    pub fn new(
        store: Store,
        updater: Updater,
        os: Os,
        instance: Instance,
        dir: PathBuf,
        reboot: Option<PathBuf>,
        docker: Option<PathBuf>,
    ) -> Self {
        Self {
            store,
            datastore: None,
            updater,
            os,
            running: None,
            instance,
            tokens: HashSet::new(),
            tasks: Vec::new(),
            docker,
            applier: Applier::Works,
            applied: Vec::new(),
            asked: VecDeque::new(),
            faults: Vec::new(),
            dir,
            reboot,
            reboots: 0,
        }
    }

    /// Remembers a request.
    pub fn remember(&mut self, asked: Asked) {
        if self.asked.len() == MAX_REQUESTS {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
    }

    /// The fault that meets this request, counted.
    pub fn fault(&mut self, server: Server, path: &str) -> Option<Fault> {
        let meets = |fault: &Fault| fault.server == server && path.starts_with(&fault.path) && fault.times != Some(0);
        let fault = self.faults.iter_mut().find(|fault| meets(fault))?;
        fault.times = fault.times.map(|left| left - 1);
        Some(fault.clone())
    }

    /// Makes what is pending hold, from now on and after the next boot; the names of it all, changed or not.
    ///
    /// # Errors
    /// Nothing pending, or it cannot be written.
    pub fn commit(&mut self, tx: &str) -> Result<Vec<String>, store::Refusal> {
        let names = self.store.commit(tx)?;
        if let Some(file) = &self.datastore {
            let written = datastore::write(file, &self.store.all()?);
            written.map_err(|error| store::Refusal::Broken(format!("Data store error during commit: {error}")))?;
        }
        Ok(names)
    }

    /// `settings.updates.version-lock`.
    #[must_use]
    pub fn version_lock(&self) -> String {
        let settings = self.store.all().unwrap_or_default();
        settings.pointer("/updates/version-lock").and_then(Value::as_str).unwrap_or("latest").to_owned()
    }
}

/// The state and the host API's presence, shared by all servers.
#[derive(Debug, Clone)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    wanted: watch::Sender<Presence>,
    /// What holds, or why it could not be brought about.
    actual: watch::Sender<Result<Presence, String>>,
}

impl Shared {
    /// A host whose API is away.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            wanted: watch::Sender::new(Presence::Away),
            actual: watch::Sender::new(Ok(Presence::Away)),
        }
    }

    /// The state.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the host API into this presence; it holds when this returns.
    ///
    /// # Errors
    /// The socket could not be bound or removed, or nobody keeps it.
    pub async fn present(&self, presence: Presence) -> io::Result<()> {
        let mut actual = self.actual.subscribe();
        self.wanted.send_replace(presence);
        // Whatever is wanted, whoever keeps the socket says what came of it.
        let reached = async {
            loop {
                actual.changed().await.map_err(io::Error::other)?;
                match &*actual.borrow_and_update() {
                    Ok(actual) if *actual == presence => return Ok(()),
                    Ok(_) => {}
                    Err(why) => return Err(io::Error::other(why.clone())),
                }
            }
        };
        timeout(KEPT, reached).await.map_err(io::Error::other)?
    }

    /// For the one that keeps the socket: what is wanted, and where to say what holds.
    pub(super) fn presence(&self) -> (watch::Receiver<Presence>, watch::Sender<Result<Presence, String>>) {
        (self.wanted.subscribe(), self.actual.clone())
    }
}
