//! The simulated Bottlerocket host as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::{NODE, Running, docker, eventually};

/// Where the simulated host's parts answer, as it says itself once it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// The host API.
    pub api: PathBuf,
    /// The instance metadata service.
    pub imds: String,
    /// The ECS agent's introspection API.
    pub ecs: String,
    /// How tests steer it.
    pub control: String,
}

/// A running simulated host.
#[derive(Debug)]
pub struct SimHost {
    /// Where its parts answer.
    pub ready: Ready,
    _process: Running,
}

impl SimHost {
    /// Starts it, with its files under `world`, and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not; the error carries the end of its log.
    pub fn start(program: &Path, world: &Path) -> anyhow::Result<Self> {
        Self::start_with(program, world, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(program: &Path, world: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let log = world.join("simhost.log");
        let mut process = Running::start(
            &log,
            Command::new(program)
                .arg("--dir")
                .arg(world.join("host"))
                .args(["--address", NODE, "--docker", docker::SOCKET])
                .args(args),
        )?;
        let ready = eventually(Duration::from_secs(10), "the simulated host", || {
            anyhow::ensure!(process.alive(), "it has ended");
            let text = std::fs::read_to_string(&log)?;
            let line = text.lines().find(|line| line.starts_with('{')).context("it is not ready")?;
            Ok(serde_json::from_str(line)?)
        });
        let (ready, _) = ready.with_context(|| process.log_tail())?;
        Ok(Self { ready, _process: process })
    }
}
