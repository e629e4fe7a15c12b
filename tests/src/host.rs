//! The simulated Bottlerocket host: what an agent on a real one talks to, with the same awkward answers.
//!
//! Owns the host API on a Unix socket (`host::api`, over the pure `host::store`, `host::model` and `host::updates`),
//! the instance metadata service (`host::imds`) and the ECS agent's introspection API (`host::introspection`, over what
//! tests say or what dockerd runs, `host::docker`). Tests steer it through `host::control`. It runs no
//! containers. What an update does to a disk is behind [`updates::Banks`]; a host that has one boots from it
//! (`host::boot`) and updates it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bottlerocket_settings::Image;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub mod api;
pub mod boot;
pub mod control;
mod datastore;
pub mod docker;
pub mod imds;
pub mod introspection;
pub mod key;
pub mod model;
pub mod seed;
pub mod serve;
pub mod state;
pub mod store;
pub mod updates;

use boot::Boot;
use imds::Instance;
use serve::{Presence, Server};
use state::{Os, Shared, State};
use updates::{Banks, Offer, Updater};

/// What host to simulate.
#[derive(Debug)]
pub struct Options {
    /// Everything is put below this directory: `run/api.sock`, `reboots`, `signpost.json`.
    pub dir: PathBuf,
    /// What runs.
    pub os: Os,
    /// The settings that hold, over the built-in ones.
    pub settings: Map<String, Value>,
    /// A file in which settings outlive the process: what was ever committed holds instead of all others.
    pub datastore: Option<PathBuf>,
    /// Whether all settings wait in the transaction `bottlerocket-launch`, as at a first boot.
    pub first_boot: bool,
    /// What the metadata service says.
    pub instance: Instance,
    /// What a refresh finds.
    pub offer: Offer,
    /// How long update actions take.
    pub takes: Duration,
    /// The partitions of a host without a disk.
    pub banks: Box<dyn Banks>,
    /// The disk to boot from: its banks are those that updates turn, and what runs is what the one that boots holds.
    /// In the directory the file `signpost.json` is kept, for a `signpost` that is installed there
    /// ([`crate::disk::running::install`]).
    pub boot: Option<Boot>,
    /// Where the metadata service listens.
    pub imds: SocketAddr,
    /// Where the introspection API listens.
    pub ecs: SocketAddr,
    /// Where the control API listens.
    pub control: SocketAddr,
    /// dockerd's socket, to derive ECS tasks from what it runs.
    pub docker: Option<PathBuf>,
    /// What a reboot runs.
    pub reboot: Option<PathBuf>,
}

impl Options {
    /// An aws-ecs-2 host of version 1.20.5 below `dir`, on free loopback ports.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            dir: dir.into(),
            os: Os::default(),
            settings: Map::new(),
            datastore: None,
            first_boot: false,
            instance: Instance::default(),
            offer: Offer::default(),
            takes: Duration::ZERO,
            banks: Box::new(updates::Willing::default()),
            boot: None,
            imds: free,
            ecs: free,
            control: free,
            docker: None,
            reboot: None,
        }
    }
}

/// A host that runs. Dropped: it is gone at once, its socket's file stays, as after a SIGKILL.
#[derive(Debug)]
pub struct SimHost {
    /// The host API's socket.
    pub api: PathBuf,
    /// The metadata service.
    pub imds: SocketAddr,
    /// The introspection API.
    pub ecs: SocketAddr,
    /// The control API.
    pub control: SocketAddr,
    /// Its state, for tests in the same process.
    pub state: Shared,
    tasks: JoinSet<()>,
}

impl SimHost {
    /// Starts a host; everything listens when this returns.
    ///
    /// # Errors
    /// The directory cannot be made, something cannot be bound, or nothing boots.
    pub async fn start(options: Options) -> io::Result<Self> {
        let run = options.dir.join("run");
        std::fs::create_dir_all(&run)?;
        let api = run.join("api.sock");
        let [imds, ecs, control] = [
            TcpListener::bind(options.imds).await?,
            TcpListener::bind(options.ecs).await?,
            TcpListener::bind(options.control).await?,
        ];
        let addresses = (imds.local_addr()?, ecs.local_addr()?, control.local_addr()?);
        let state = Shared::new(new_state(options)?);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve::keep(api.clone(), state.clone()));
        tasks.spawn(serve::serve(imds, Server::Imds, state.clone()));
        tasks.spawn(serve::serve(ecs, Server::Ecs, state.clone()));
        tasks.spawn(control::serve(control, state.clone()));
        state.present(Presence::Up).await?;
        Ok(Self { api, imds: addresses.0, ecs: addresses.1, control: addresses.2, state, tasks })
    }

    /// Stops it in order: the socket's file goes too.
    ///
    /// # Errors
    /// The socket cannot be removed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.state.present(Presence::Away).await?;
        self.tasks.shutdown().await;
        Ok(())
    }

    /// Where everything is, as the program prints it.
    #[must_use]
    pub fn addresses(&self) -> Value {
        json!({
            "ready": true,
            "pid": std::process::id(),
            "api": self.api,
            "imds": format!("http://{}", self.imds),
            "ecs": format!("http://{}", self.ecs),
            "control": format!("http://{}", self.control),
        })
    }
}

fn new_state(mut options: Options) -> io::Result<State> {
    let mut from = None;
    if let Some(boot) = &options.boot {
        let (running, image) = boot.boot(&options.dir).map_err(io::Error::other)?;
        (options.os, options.banks) = (Os::from(&image), Box::new(running.clone()));
        from = Some(running);
    }
    let mut settings = seed::settings(&options.instance);
    store::merge(&mut settings, options.settings);
    if let Some(kept) = options.datastore.as_deref().map(datastore::read).transpose()?.flatten() {
        settings = kept;
    }
    let mut store = store::Store::new(if options.first_boot { Map::new() } else { settings.clone() });
    if options.first_boot {
        // A name this short is never refused.
        let _ = store.stage("bottlerocket-launch", settings);
    }
    let mut updater = Updater::new(Image::from(&options.os), options.banks);
    updater.offer = options.offer;
    updater.takes = options.takes;
    let mut state =
        State::new(store, updater, options.os, options.instance, options.dir, options.reboot, options.docker);
    (state.running, state.datastore) = (from, options.datastore);
    Ok(state)
}

#[cfg(test)]
mod tests;
