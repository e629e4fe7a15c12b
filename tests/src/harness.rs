//! One Bottlerocket node on real parts: dockerd, the simulated host API, a resolver outside, and the agent.
//!
//! Owns the processes and their files; tests hold containers. Runs only on the machine that `tests/world` makes, where
//! whatever is left running ends with the test process. Blocking throughout: a scenario is a sequence.

pub mod agent;
pub mod docker;
pub mod etcd;
pub mod simhost;
pub mod status;
pub mod updating;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub use agent::Agent;
pub use docker::{Container, Dockerd, Run};
pub use etcd::Etcd;
pub use simhost::SimHost;
pub use status::{Endpoint, Service, Status};

use crate::testbox::dial::Calls;

/// The node's own address in the world.
pub const NODE: &str = "10.77.0.1";
/// The address of the rest of the world; its resolver answers on port 53.
pub const OUTSIDE: &str = "10.77.0.254";
/// The domain that the resolver outside knows; every name in it is at [`OUTSIDE`].
pub const OUTSIDE_DOMAIN: &str = "outside.test";

/// A node and what it runs on.
#[derive(Debug)]
pub struct Node {
    /// The container engine.
    pub docker: Dockerd,
    /// The host API, the metadata service and the ECS agent's introspection.
    pub simhost: SimHost,
    /// The agent.
    pub agent: Agent,
    programs: PathBuf,
    _resolver: Running,
}

impl Node {
    /// Starts every part, and returns once the agent is ready.
    ///
    /// `programs` is the directory of statically linked `meshdog`, `simhost` and `testbox`. `extra` is appended to the
    /// agent's user data.
    ///
    /// # Errors
    /// When a part does not start; the error carries the end of its log.
    pub fn start(programs: &Path, extra: &str) -> anyhow::Result<Self> {
        let world = std::env::var_os("MESHDOG_WORLD").context("run this with tests/world (or tests/run scenarios)")?;
        let world = PathBuf::from(world);
        let testbox = programs.join("testbox");
        let docker = Dockerd::start(&world)?;
        docker.build_image("testbox", &testbox)?;
        let resolver = Running::start(
            &world.join("resolver.log"),
            Command::new("ip").args(["netns", "exec", "outside"]).arg(&testbox).args([
                "resolver",
                "--listen",
                OUTSIDE,
                "--domain",
                OUTSIDE_DOMAIN,
                "--address",
                OUTSIDE,
            ]),
        )?;
        let simhost = SimHost::start(&programs.join("simhost"), &world)?;
        let agent = Agent::start(&programs.join("meshdog"), &world, &simhost, extra)?;
        Ok(Self { docker, simhost, agent, programs: programs.to_owned(), _resolver: resolver })
    }

    /// One of the programs under test.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Runs a test box server in a container: `args` after `serve --name NAME`.
    ///
    /// # Errors
    /// When docker refuses.
    pub fn serve(&self, name: &str, run: Run<'_>, args: &str) -> anyhow::Result<Container> {
        self.docker.run(name, run, &format!("serve --name {name} {args}"))
    }

    /// Makes calls from a container of their own, and waits for what came of them.
    ///
    /// # Errors
    /// When the container fails; failed calls are no error.
    pub fn dial(&self, run: Run<'_>, args: &str) -> anyhow::Result<Calls> {
        self.docker.run("client", run, &format!("dial {args}"))?.finish()
    }

    /// Makes calls from a process on the node itself.
    ///
    /// # Errors
    /// When the process fails; failed calls are no error.
    pub fn dial_from_node(&self, args: &str) -> anyhow::Result<Calls> {
        let out = output(Command::new(self.programs.join("testbox")).arg("dial").args(args.split(' ')))?;
        Ok(serde_json::from_str(&out)?)
    }
}

/// A process of the harness, killed when dropped. Its output goes to a log.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command with stdout and stderr appended to `log`.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(log: &Path, command: &mut Command) -> anyhow::Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", shown(command)))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its exit.
    ///
    /// # Errors
    /// When it has not gone after 20 s, as long as a host container is given.
    pub fn terminate(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let mut status = None;
        eventually(Duration::from_secs(20), "the process to end", || {
            status = self.child.try_wait()?;
            ensure!(status.is_some(), "it still runs");
            Ok(())
        })?;
        status.context("no exit status")
    }

    /// The name and the last lines of its log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("{} ends:\n{tail}\n", self.log.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Tries until it succeeds, every 5 ms; says how long that took.
///
/// # Errors
/// The last failure, when it has not succeeded by the deadline.
pub fn eventually<T>(
    within: Duration,
    what: &str,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok((value, begun.elapsed())),
            Err(error) if begun.elapsed() > within => {
                return Err(error.context(format!("waited {within:?} for {what}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Runs a command to its end and returns its stdout.
///
/// # Errors
/// When it fails; the error carries what it wrote on stderr.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {}", shown(command)))?;
    if !output.status.success() {
        bail!("{}: {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A number from the environment, for what may take longer than it does by default.
///
/// # Errors
/// When it is none.
pub fn given(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is no number: {text}")),
        Err(_) => Ok(default),
    }
}

/// `[[service]]` rules that make each container named `block-B-*` an endpoint of so many services, `sB-0` and on: more
/// than labels may offer.
#[must_use]
pub fn blocks(blocks: usize, services: usize) -> String {
    let rule = |block, nth| {
        format!("[[service]]\nname=\"s{block}-{nth}\"\nmatch={{container=\"*block-{block}-*\"}}\nport=8080\n")
    };
    (0..blocks).flat_map(|block| (0..services).map(move |nth| rule(block, nth))).collect()
}

/// A command as an error names it: a thousand labels would bury what went wrong.
fn shown(command: &Command) -> String {
    let whole = format!("{command:?}");
    match whole.char_indices().nth(200) {
        Some((end, _)) => format!("{} …", &whole[..end]),
        None => whole,
    }
}
