//! The agent under test as a process, and what it says of itself through its own commands.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{NODE, Running, Service, SimHost, Status, docker, eventually};

/// Where it gives its metrics (`telemetry.metrics`).
const METRICS: &str = "127.0.0.1:9464";
/// How long anything may take to show in status. Generous: machines that run tests are slow, and scenarios that are
/// about speed measure it.
const PATIENCE: Duration = Duration::from_secs(15);

/// `meshdog run`.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    config: PathBuf,
    user_data: String,
    log: PathBuf,
    process: Option<Running>,
}

impl Agent {
    /// Writes its user data, starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the error carries the end of its log.
    pub fn start(program: &Path, world: &Path, host: &SimHost, extra: &str) -> anyhow::Result<Self> {
        let own = world.join("local/host-containers/meshdog");
        std::fs::create_dir_all(&own)?;
        let config = own.join("user-data");
        let (user_data, log) = (user_data(&own, host, extra), world.join("meshdog.log"));
        let mut agent = Self { program: program.to_owned(), config, user_data, log, process: None };
        agent.restart()?;
        Ok(agent)
    }

    /// The same as [`Self::restart`], with more user data until the next restart.
    ///
    /// # Errors
    /// As that.
    pub fn restart_with(&mut self, more: &str) -> anyhow::Result<()> {
        std::fs::write(&self.config, format!("{}\n{more}", self.user_data))?;
        self.run()
    }

    /// Starts it (if it runs: after killing it), and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the error carries the end of its log.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        std::fs::write(&self.config, &self.user_data)?;
        self.run()
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let mut command = Command::new(&self.program);
        let process =
            self.process.insert(Running::start(&self.log, command.arg("run").arg("--config").arg(&self.config))?);
        let tail = |process: &Running| process.log_tail();
        let ready = eventually(PATIENCE, "the agent to be ready", || {
            ensure!(process.alive(), "it has ended");
            let status = status(&self.program, &self.config)?;
            ensure!(status.ready, "its sources are {:?}", status.sources);
            Ok(())
        });
        ready.with_context(|| tail(process)).map(drop)
    }

    /// Whether it runs.
    pub fn alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(Running::alive)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the agent does not run")?.kill()
    }

    /// SIGHUP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.pid()?.try_into()?), Signal::SIGHUP)?)
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.take().context("the agent does not run")?.terminate()
    }

    /// Its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> anyhow::Result<Status> {
        status(&self.program, &self.config)
    }

    /// Runs another of its commands with its config.
    ///
    /// # Errors
    /// When the program cannot be run; its failure is no error.
    pub fn command(&self, args: &[&str]) -> anyhow::Result<Output> {
        Ok(Command::new(&self.program).args(args).arg("--config").arg(&self.config).output()?)
    }

    /// Waits until a service is as it should be and in the kernel.
    ///
    /// # Errors
    /// When it is not in time; the error carries how it is, and the end of the agent's log.
    pub fn service(&self, name: &str, when: impl Fn(&Service) -> bool) -> anyhow::Result<Service> {
        let settled = eventually(PATIENCE, &format!("service {name}"), || {
            let status = self.status()?;
            let service = status.service(name).with_context(|| format!("no service {name}"))?;
            ensure!(when(service) && status.dataplane.in_sync, "{service:?}, {:?}", status.dataplane);
            Ok(service.clone())
        });
        Ok(settled.with_context(|| self.log_tail())?.0)
    }

    /// Waits until a service has so many healthy endpoints, and no others.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub fn healthy(&self, name: &str, count: usize) -> anyhow::Result<Service> {
        self.service(name, |service| service.healthy() == count && service.endpoints.len() == count)
    }

    /// The sum of its metrics whose lines begin so.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metric(&self, prefix: &str) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(METRICS)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let values = text.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| line.rsplit_once(' '));
        Ok(values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
    }

    /// How often its log has a text.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logged(&self, text: &str) -> anyhow::Result<usize> {
        Ok(std::fs::read_to_string(&self.log)?.matches(text).count())
    }

    /// The end of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Running::log_tail).unwrap_or_default()
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the agent does not run")?.pid())
    }

    /// Its resident memory in KiB (`VmRSS`, proc(5)).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

fn status(program: &Path, config: &Path) -> anyhow::Result<Status> {
    let out = super::output(Command::new(program).args(["status", "--json", "--config"]).arg(config))?;
    Ok(serde_json::from_str(&out)?)
}

fn user_data(own: &Path, host: &SimHost, extra: &str) -> String {
    format!(
        r#"version = 1

[node]
advertise = "{NODE}"

[mesh]
namespace = "prod"

[telemetry]
log = "info"

[paths]
api_socket = "{api}"
docker_socket = "{docker}"
state_dir = "{state}"
admin_socket = "/run/meshdog/admin.sock"
ecs_introspection = "{ecs}"
imds = "{imds}"
{extra}"#,
        api = host.ready.api.display(),
        docker = docker::SOCKET,
        state = own.join("state").display(),
        ecs = host.ready.ecs,
        imds = host.ready.imds,
    )
}
