//! The task that owns the [`Mesh`]: hands it the newest snapshots, publishes what is desired, keeps the VIPs on disk.
//!
//! Publishes nothing before Docker, the node and the catalog have each given their first snapshot, so that a restart
//! never programs half a world over a whole one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desired::{Mesh, MeshSnapshot};
use super::vip::Remembered;
use crate::config::MeshSettings;
use crate::model::publish::{if_given, publish};
use crate::model::{CapturedServers, Containers, Desired, Ejections, Endpoints, Node, Rulesets, error_chain};

/// The file in the state directory that remembers VIPs.
const VIPS_FILE: &str = "vips.json";
/// A larger file is not ours.
const MAX_VIPS_FILE: u64 = 16 << 20;
/// How long new VIPs wait for more before they are written.
const WRITE_DELAY: Duration = Duration::from_millis(500);
/// How long to wait before a failed write is tried again.
const WRITE_RETRY: Duration = Duration::from_secs(30);

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
    /// The name servers whose queries are captured.
    pub resolvers: watch::Receiver<CapturedServers>,
}

impl MeshInputs {
    /// The newest snapshot, so long after the task began, or `None` while a first snapshot is missing.
    fn snapshot(&mut self, now: Duration) -> Option<MeshSnapshot> {
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

/// Why VIPs cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}; VIPs of services whose names collide may change at the next start")]
struct VipsFileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Runs until cancelled, or until an input ends.
pub async fn run(
    settings: MeshSettings,
    state_dir: PathBuf,
    mut inputs: MeshInputs,
    outputs: MeshOutputs,
    stop: CancellationToken,
) {
    let path = state_dir.join(VIPS_FILE);
    let remembered = read(&path).unwrap_or_else(|error| {
        tracing::warn!(error = %error_chain(&error), "cannot read the saved VIPs; check paths.state_dir");
        Remembered::default()
    });
    let mut mesh = Mesh::new(settings, &remembered);
    let began = Instant::now();
    let mut written = mesh.vips().generation();
    let mut write_at: Option<Instant> = None;
    loop {
        if let Some(snapshot) = inputs.snapshot(began.elapsed()) {
            outputs.publish(mesh.advance(snapshot));
        }
        if mesh.vips().generation() != written && write_at.is_none() {
            write_at = Some(Instant::now() + WRITE_DELAY);
        }
        let forget = mesh.next_forgotten().map(|after| began + after);
        tokio::select! {
            () = stop.cancelled() => break,
            () = until(forget) => {}
            more = inputs.changed() => if !more { break },
            () = until(write_at) => {
                let generation = mesh.vips().generation();
                write_at = match write_remembered(&path, mesh.vips().remembered()).await {
                    Ok(()) => { written = generation; None }
                    Err(error) => {
                        tracing::warn!(error = %error_chain(&error),
                            "cannot save the VIPs; check paths.state_dir; trying again");
                        Some(Instant::now() + WRITE_RETRY)
                    }
                };
            }
        }
    }
    if mesh.vips().generation() != written
        && let Err(error) = write_remembered(&path, mesh.vips().remembered()).await
    {
        tracing::warn!(error = %error_chain(&error), "cannot save the VIPs; check paths.state_dir");
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn read(path: &Path) -> Result<Remembered, VipsFileError> {
    let error = |source| VipsFileError { action: "read", path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Remembered::default()),
        Err(source) => return Err(error(source)),
        Ok(meta) if meta.len() > MAX_VIPS_FILE => return Err(error(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(error)?;
    serde_json::from_slice(&bytes).map_err(|source| error(source.into()))
}

/// Replaces the file whole, so that a crash leaves the old one or the new one.
async fn write_remembered(path: &Path, remembered: Remembered) -> Result<(), VipsFileError> {
    let target = path.to_owned();
    let write = move || -> io::Result<()> {
        let bytes = serde_json::to_vec(&remembered)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let fresh = target.with_extension("json.new");
        std::fs::write(&fresh, bytes)?;
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, &target)
    };
    let done = tokio::task::spawn_blocking(write).await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    done.map_err(|source| VipsFileError { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
