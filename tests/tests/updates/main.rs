//! Updates on real parts: a disk with Bottlerocket's bits, the simulated host's updater and signpost acting on them, the
//! agent as a process that dies with every boot, dockerd and the kernel's tables. Run by `tests/run updates`.
//!
//! Each scenario has a node of its own, one at a time (`--test-threads=1`); what boots is played by the boot loader's
//! rules. The same on a booted kernel, more slowly: `tests/vm`.

mod fleet;
mod life;
mod others;
mod power;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use meshdog_tests::harness::updating::Updating;
use meshdog_tests::harness::{Dockerd, Running};

type Outcome = anyhow::Result<()>;

/// What all scenarios share.
struct World {
    docker: Dockerd,
    programs: PathBuf,
    dir: PathBuf,
}

static WORLD: LazyLock<Result<Mutex<World>, String>> =
    LazyLock::new(|| make().map(Mutex::new).map_err(|error| format!("{error:?}")));

fn make() -> anyhow::Result<World> {
    let programs: PathBuf = std::env::var_os("MESHDOG_PROGRAMS").context("run this with tests/run updates")?.into();
    let dir: PathBuf = std::env::var_os("MESHDOG_WORLD").context("run this with tests/run updates")?.into();
    let docker = Dockerd::start(&dir)?;
    docker.build_image("testbox", &programs.join("testbox"))?;
    Ok(World { docker, programs, dir })
}

fn world() -> anyhow::Result<MutexGuard<'static, World>> {
    let world = WORLD.as_ref().map_err(|error| anyhow!("dockerd did not start: {error}"))?;
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    world.docker.remove_all()?;
    Ok(world)
}

/// A workload on the node itself, which an HTTP check of `[update.verify]` watches.
struct Workload {
    sick: PathBuf,
    _server: Running,
}

const WORKLOAD: &str = "http://127.0.0.1:18080/healthz";

impl Workload {
    fn start(world: &World) -> anyhow::Result<Self> {
        let sick = world.dir.join("sick");
        let _ = std::fs::remove_file(&sick);
        let log = world.dir.join("workload.log");
        let serve = ["serve", "--name", "workload", "--port", "18080", "--sick-while"];
        let server = Running::start(&log, Command::new(world.programs.join("testbox")).args(serve).arg(&sick))?;
        Ok(Self { sick, _server: server })
    }

    /// A boot loader's question: does this version boot? Every version does, and on `bad` ones the workload is sick.
    fn sick_on<'a>(&self, bad: &'a str) -> impl Fn(&str) -> bool + use<'a> {
        let sick = self.sick.clone();
        move |version| {
            let _ = if version == bad { std::fs::write(&sick, "") } else { std::fs::remove_file(&sick) };
            true
        }
    }
}

/// Every version boots.
fn boots(_: &str) -> bool {
    true
}

/// A node that takes updates at once and judges them fast.
fn node(world: &World, name: &str, extra: &str) -> anyhow::Result<Updating> {
    let dir = &world.dir;
    Updating::start(&world.programs, dir, name, &settings(1, extra))
}

fn settings(settle: u32, extra: &str) -> String {
    format!(
        "[update]\nmode = \"automatic\"\ndelay = \"0s\"\ndrain = \"3s\"\n[update.verify]\ndeadline = \"{}s\"\n\
         settle = \"{settle}s\"\nhttp = [\"{WORKLOAD}\"]\n{extra}\n",
        settle + 7
    )
}

fn journal(world: &World, name: &str) -> PathBuf {
    Path::new(&world.dir).join(name).join("local/host-containers/meshdog/state")
}
