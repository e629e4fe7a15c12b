//! A dockerd of the test's own, and containers on it. Speaks to it as people do, with the `docker` program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::{Running, eventually, output};

/// Where dockerd of the world listens; also the default of the `docker` program.
pub const SOCKET: &str = "/run/docker.sock";

/// dockerd with the daemon settings that Bottlerocket has: live-restore, iptables on.
#[derive(Debug)]
pub struct Dockerd {
    process: Running,
    world: PathBuf,
}

/// How to run a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run<'a> {
    /// Its labels, `KEY=VALUE`.
    pub labels: &'a [&'a str],
    /// Further options of `docker run`, separated by spaces.
    pub options: &'a str,
}

impl<'a> Run<'a> {
    /// With these labels.
    #[must_use]
    pub fn labels(labels: &'a [&'a str]) -> Self {
        Self { labels, options: "" }
    }

    /// With these options of `docker run`.
    #[must_use]
    pub fn options(options: &'a str) -> Self {
        Self { labels: &[], options }
    }
}

impl Dockerd {
    /// Starts it, with its files under `world`, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up; the error carries the end of its log.
    pub fn start(world: &Path) -> anyhow::Result<Self> {
        let docker = Self { process: spawn(world)?, world: world.to_owned() };
        docker.answers()?;
        Ok(docker)
    }

    /// Kills it without notice and starts it again; containers go on running.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        std::fs::remove_file("/run/docker.pid").context("removing the pid file of the killed dockerd")?;
        self.process = spawn(&self.world)?;
        self.answers()
    }

    fn answers(&self) -> anyhow::Result<()> {
        eventually(Duration::from_secs(20), "dockerd", || docker(&["version"]))
            .with_context(|| self.process.log_tail())?;
        Ok(())
    }

    /// Makes an image of one static program, its entry point, and nothing else.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn build_image(&self, name: &str, program: &Path) -> anyhow::Result<()> {
        let context = self.world.join("image");
        std::fs::create_dir_all(&context)?;
        std::fs::copy(program, context.join("program")).with_context(|| format!("copying {}", program.display()))?;
        std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\n")?;
        docker(&["build", "--quiet", "--tag", name, &context.to_string_lossy()])?;
        Ok(std::fs::remove_dir_all(context)?)
    }

    /// Makes an image of another and further lines of a Dockerfile.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn derive_image(&self, name: &str, from: &str, lines: &str) -> anyhow::Result<()> {
        let context = self.world.join("derived");
        std::fs::create_dir_all(&context)?;
        std::fs::write(context.join("Dockerfile"), format!("FROM {from}\n{lines}\n"))?;
        docker(&["build", "--quiet", "--tag", name, &context.to_string_lossy()]).map(drop)
    }

    /// Starts a container of the test box image; `args` are separated by spaces.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn run(&self, name: &str, run: Run<'_>, args: &str) -> anyhow::Result<Container> {
        self.run_image("testbox", name, run, args)
    }

    /// Starts a container of any image; `args` are separated by spaces.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn run_image(&self, image: &str, name: &str, run: Run<'_>, args: &str) -> anyhow::Result<Container> {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--name", name]).args(run.options.split_whitespace());
        for label in run.labels {
            command.args(["--label", label]);
        }
        output(command.arg(image).args(args.split_whitespace()))?;
        Ok(Container { name: name.to_owned() })
    }

    /// Removes every container that an earlier test may have left.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn remove_all(&self) -> anyhow::Result<()> {
        let ids = docker(&["ps", "--all", "--quiet"])?;
        if !ids.trim().is_empty() {
            output(Command::new("docker").args(["rm", "--force"]).args(ids.split_whitespace()))?;
        }
        Ok(())
    }
}

fn spawn(world: &Path) -> anyhow::Result<Running> {
    let cgroup = std::env::var("MESHDOG_WORLD_CGROUP").context("MESHDOG_WORLD_CGROUP is not set")?;
    let mut command = Command::new("dockerd");
    command.args(["--live-restore", "--exec-root=/run/docker", "--host=unix:///run/docker.sock"]);
    command.arg(format!("--cgroup-parent={cgroup}"));
    Running::start(&world.join("dockerd.log"), command.arg(format!("--data-root={}", world.join("docker").display())))
}

fn docker(args: &[&str]) -> anyhow::Result<String> {
    output(Command::new("docker").args(args))
}

/// A container, removed when dropped.
#[derive(Debug)]
pub struct Container {
    name: String,
}

impl Container {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `docker inspect` says at a Go template such as `{{.NetworkSettings.IPAddress}}`.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn inspect(&self, template: &str) -> anyhow::Result<String> {
        Ok(docker(&["inspect", "--format", template, &self.name])?.trim().to_owned())
    }

    /// Runs the test box once more inside, and returns its output.
    ///
    /// # Errors
    /// When docker refuses or the program fails.
    pub fn exec(&self, args: &str) -> anyhow::Result<String> {
        output(Command::new("docker").args(["exec", &self.name, "/program"]).args(args.split_whitespace()))
    }

    /// `docker stop`, with its stop timeout of 10 s.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn stop(&self) -> anyhow::Result<()> {
        docker(&["stop", &self.name]).map(drop)
    }

    /// `docker kill --signal`.
    ///
    /// # Errors
    /// When docker refuses, as it does for a container that has ended.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        docker(&["kill", "--signal", signal, &self.name]).map(drop)
    }

    /// Tells it to stop if it does not stop by itself, waits for its end, and reads the JSON it printed.
    ///
    /// # Errors
    /// When it failed or printed something else.
    pub fn stop_and_finish<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        self.signal("TERM")?;
        self.finish()
    }

    /// Waits for its end, and reads the JSON it printed.
    ///
    /// # Errors
    /// When it failed or printed something else.
    pub fn finish<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        let status = docker(&["wait", &self.name])?;
        let output = output(Command::new("sh").args(["-c", "docker logs \"$1\" 2>&1", "sh", &self.name]))?;
        serde_json::from_str(&output).with_context(|| format!("{} ended with {}: {output}", self.name, status.trim()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", &self.name]);
    }
}
