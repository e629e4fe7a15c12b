//! The task that owns the [`Mesh`]: hands it the newest snapshots, publishes what is desired, keeps VIPs and
//! claims on disk.
//!
//! Publishes nothing before Docker, the node and the catalog have each given their first snapshot, so that a restart
//! never programs half a world over a whole one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desired::Mesh;
use super::snapshot::MeshSnapshot;
use super::vip::Remembered;
use crate::config::MeshSettings;
use crate::model::publish::{if_given, publish};
use crate::model::{
    CapturedServers, ClosedRoads, Containers, Desired, Ejections, Endpoints, Node, Rulesets, error_chain,
};
use crate::state_file::{Saver, StateFile};
use crate::until::until;

/// The file in the state directory that remembers VIPs, and who claims which alias.
const VIPS_FILE: &str = "vips.json";
/// A larger file is not ours.
const MAX_VIPS_FILE: u64 = 16 << 20;

/// Where the task's inputs come from. `None` stands for a first snapshot that is still to come.
#[derive(Debug, Clone)]
pub struct MeshInputs {
    /// Every endpoint known here.
    pub catalog: watch::Receiver<Option<Endpoints>>,
    /// Endpoints avoided because connections to them failed.
    pub ejections: watch::Receiver<Ejections>,
    /// This node.
    pub node: watch::Receiver<Option<Node>>,
    /// What Docker runs.
    pub containers: watch::Receiver<Option<Containers>>,
    /// Between which bridges nothing comes through.
    pub closed_roads: watch::Receiver<ClosedRoads>,
    /// The name servers whose queries are captured.
    pub resolvers: watch::Receiver<CapturedServers>,
}

impl MeshInputs {
    /// The newest snapshot, or `None` while a first snapshot is missing. `now`: in seconds since the Unix epoch.
    fn snapshot(&mut self, now: u64) -> Option<MeshSnapshot> {
        let catalog = self.catalog.borrow_and_update().clone()?;
        let containers = self.containers.borrow_and_update();
        let containers = containers.as_ref()?;
        let with_own_dns = containers.running.values().filter(|container| container.own_dns);
        let resolvers = self.resolvers.borrow_and_update();
        let node = self.node.borrow_and_update();
        let node = node.as_ref()?;
        Some(MeshSnapshot {
            catalog,
            ejections: self.ejections.borrow_and_update().clone(),
            zone: node.zone.clone(),
            bridges: containers.bridges.clone(),
            closed: self.closed_roads.borrow_and_update().keys().cloned().collect(),
            resolvers: resolvers.ports_of_containers(),
            host_resolvers: resolvers.ports_of_host(),
            uncaptured: with_own_dns.flat_map(|container| container.addresses.iter().copied()).collect(),
            now,
            ..MeshSnapshot::default()
        })
    }

    /// Waits for a change of any input. False when every sender of one is gone.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.catalog.changed() => changed.is_ok(),
            changed = self.ejections.changed() => changed.is_ok(),
            changed = self.node.changed() => changed.is_ok(),
            changed = self.containers.changed() => changed.is_ok(),
            changed = self.resolvers.changed() => changed.is_ok(),
            changed = self.closed_roads.changed() => changed.is_ok(),
        }
    }
}

/// What a task publishes.
#[derive(Debug)]
pub struct MeshOutputs {
    /// Everything that is wanted.
    pub desired: watch::Sender<Option<Arc<Desired>>>,
    /// The part of it that the kernel is to hold; told first, and only where it changed.
    pub rulesets: watch::Sender<Option<Rulesets>>,
}

impl MeshOutputs {
    fn publish(&self, desired: Desired) {
        publish(&self.rulesets, Some(desired.rulesets.clone()), if_given(same));
        self.desired.send_replace(Some(Arc::new(desired)));
    }
}

/// Whether these are the very same rulesets.
fn same(a: &Rulesets, b: &Rulesets) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((a, one), (b, other))| a == b && Arc::ptr_eq(one, other))
}

/// Seconds since the Unix epoch that only ever count up, whatever becomes of the clock after the start.
#[derive(Debug, Clone, Copy)]
struct Seconds {
    start: u64,
    started: Instant,
}

impl Seconds {
    fn new() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { start, started: Instant::now() }
    }

    fn now(self) -> u64 {
        self.start + self.started.elapsed().as_secs()
    }

    /// When it is that time.
    fn at(self, seconds: u64) -> Instant {
        self.started + Duration::from_secs(seconds.saturating_sub(self.start))
    }
}

/// Runs until cancelled, or until an input ends.
pub async fn run(
    settings: MeshSettings,
    state_dir: PathBuf,
    mut inputs: MeshInputs,
    outputs: MeshOutputs,
    stop: CancellationToken,
) {
    let file = StateFile::new(&state_dir, VIPS_FILE, MAX_VIPS_FILE);
    let remembered = read(&file).unwrap_or_else(|error| {
        tracing::warn!(error = %error_chain(&error), path = %file.path().display(),
            "cannot use the saved VIPs; those of services whose names collide may change, and so may who has an alias \
            that several services claim");
        Remembered::default()
    });
    let mut mesh = Mesh::new(settings, &remembered);
    drop(remembered);
    let mut saved = mesh.generation();
    let mut saver = Saver::new(file);
    let seconds = Seconds::new();
    loop {
        if let Some(snapshot) = inputs.snapshot(seconds.now()) {
            outputs.publish(mesh.advance(snapshot));
        }
        if mesh.generation() != saved {
            saved = mesh.generation();
            saver.changed();
        }
        let forget = mesh.next_forgotten().map(|at| seconds.at(at));
        tokio::select! {
            () = stop.cancelled() => break,
            () = until(forget) => {}
            more = inputs.changed() => if !more { break },
            () = saver.due() => saver.write(writing(&mesh)),
        }
    }
    saver.finish(writing(&mesh)).await;
}

/// What was saved; nothing where nothing was.
fn read(file: &StateFile) -> io::Result<Remembered> {
    let bytes = file.read().map_err(io::Error::other)?;
    bytes.map_or(Ok(Remembered::default()), |bytes| Ok(serde_json::from_slice(&bytes)?))
}

/// Writes what there is to remember now.
fn writing(mesh: &Mesh) -> impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + use<> {
    let remembered = mesh.remembered();
    move |out| Ok(serde_json::to_writer(out, &remembered)?)
}

#[cfg(test)]
mod tests;
