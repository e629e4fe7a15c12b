//! A Bottlerocket-like node in a virtual machine, for what takes reboots and power cuts.
//!
//! Owns the machine's disks and its process, and plays what is outside of an operating system: the power switch and the
//! boot loader ([`crate::disk::grub`]). What runs inside, `tests/vm/system` says: dockerd, two containers of a service,
//! the simulated host's API, and meshdog as a superpowered host container. Blocking throughout, as a scenario is.
//!
//! The banks hold no operating system, only which release would be there; what the release does when it boots is said by
//! [`Release`], and told to the one system there is on the kernel's command line. The disks: `vda` is the system disk
//! with the banks, `vdb` the system's files, read-only, `vdc` the data volume, as EC2 instances have it.

mod channel;
mod machine;
mod update;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bottlerocket_settings::Image;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use channel::Answer;

use crate::disk::Disk;
use crate::disk::grub::{self, Booted};
use crate::disk::layout::{self, Banked};
use crate::harness::{Status, eventually, output};
use crate::host::state::Os;
use machine::Machine;

/// How long anything may take inside. Generous: every instruction is emulated.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long one command may take inside.
const COMMAND: Duration = Duration::from_secs(60);
/// Bytes of the data volume; its file is sparse.
const DATA: u64 = 768 << 20;

/// What the update repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// `X.Y.Z`
    pub version: &'static str,
    /// How it boots.
    pub boots: Boots,
}

/// How a boot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// As it should.
    Well,
    /// The kernel never reaches user space: it panics and restarts the machine.
    Panics,
    /// It comes to rest before the boot counts as successful, with nothing started.
    Hangs,
    /// Well, but nobody starts a container.
    Idle,
    /// Well, but all containers are unhealthy.
    Sick,
}

impl Boots {
    /// As kernel arguments: `tests/vm/system/sbin/init` explains them.
    fn arguments(self) -> &'static str {
        match self {
            Self::Well => "meshdog.image=good",
            // Neither a first program nor a root filesystem.
            Self::Panics => "rdinit=/none root=none",
            Self::Hangs => "meshdog.image=hangs",
            Self::Idle => "meshdog.image=idle",
            Self::Sick => "meshdog.image=sick",
        }
    }
}

/// A node. Dropped: it is switched off.
#[derive(Debug)]
pub struct Vm {
    dir: PathBuf,
    releases: Vec<Release>,
    offer: Vec<&'static str>,
    forget: bool,
    trail: String,
    machine: Option<Machine>,
}

impl Vm {
    /// A new node with its files in a new directory `name`: the first release in bank A, which counts as booted, and
    /// nothing in bank B. `user_data` is meshdog's, after the part that says where things are.
    ///
    /// # Errors
    /// When this runs without `tests/run vm`, or its disks cannot be made.
    pub fn new(name: &str, releases: &[Release], user_data: &str) -> anyhow::Result<Self> {
        let world = std::env::var_os("MESHDOG_WORLD").context("run this with tests/run vm")?;
        let dir = Path::new(&world).join(name);
        let seed = dir.join("seed/host-containers/meshdog");
        fs::create_dir_all(&seed)?;
        fs::write(seed.join("user-data"), format!("{}{user_data}", include_str!("vm/user-data.toml")))?;
        File::create_new(dir.join("data"))?.set_len(DATA)?;
        output(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(dir.join("seed")).arg(dir.join("data")))?;
        let first = releases.first().context("a node needs a release")?;
        let image = Image::from(&Os { version_id: first.version.to_owned(), ..Os::default() });
        layout::create(&dir.join("disk"), Banked::Two, &image)?;
        let releases = releases.to_vec();
        Ok(Self { dir, releases, offer: Vec::new(), forget: false, trail: String::new(), machine: None })
    }

    /// Switches it on: the boot loader takes a bank and starts what it holds. Says what, and does not wait for it.
    ///
    /// # Errors
    /// When it is on, nothing can be booted, or the bank holds what is no release.
    pub fn boot(&mut self) -> anyhow::Result<Booted> {
        ensure!(self.machine.is_none(), "it is on");
        let booted = grub::boot(&self.dir.join("disk"), "/dev/vda")?;
        let version = &booted.image.version;
        let release = self.releases.iter().find(|release| release.version == version);
        let release = release.with_context(|| format!("bank {} holds {version}", booted.bank))?;
        let arguments = format!(
            "meshdog.active={} meshdog.offer={} {}{}",
            booted.bank,
            self.offer.join(","),
            release.boots.arguments(),
            if std::mem::take(&mut self.forget) { " meshdog.forget" } else { "" },
        );
        self.machine = Some(Machine::start(&self.dir, &arguments)?);
        self.trail.push_str(&booted.bank.to_string());
        Ok(booted)
    }

    /// The banks that were booted, in order, such as `ABA`.
    #[must_use]
    pub fn trail(&self) -> &str {
        &self.trail
    }

    /// What the update repository has on offer from now on, newest first; nothing at first.
    ///
    /// # Errors
    /// When it is on and does not take it.
    pub fn offer(&mut self, versions: &[&'static str]) -> anyhow::Result<()> {
        self.offer = versions.to_vec();
        if self.is_on() {
            self.control("PUT", "/updates", &json!({ "available": versions }))?;
        }
        Ok(())
    }

    /// At the next boot the agent's state on the data volume is gone.
    pub fn forget_at_next_boot(&mut self) {
        self.forget = true;
    }

    /// Whether it is on.
    pub fn is_on(&mut self) -> bool {
        self.machine.as_mut().is_some_and(Machine::is_on)
    }

    /// The power goes, and what was not on the disk is lost.
    ///
    /// # Errors
    /// When it is off.
    pub fn power_cut(&mut self) -> anyhow::Result<()> {
        drop(self.machine.take().context("it is off")?);
        Ok(())
    }

    /// Waits until it restarts by itself; it is off then, and [`Self::boot`] goes on.
    ///
    /// # Errors
    /// When it does not in time; the error carries the end of the console.
    pub fn restarts(&mut self) -> anyhow::Result<()> {
        let machine = self.machine.as_mut().context("it is off")?;
        let stopped = eventually(PATIENCE, "the machine to restart", || {
            ensure!(!machine.is_on(), "it is still on");
            Ok(())
        });
        stopped.with_context(|| machine.console_tail())?;
        self.machine = None;
        Ok(())
    }

    /// [`Self::restarts`], then [`Self::boot`].
    ///
    /// # Errors
    /// As they do.
    pub fn reboots(&mut self) -> anyhow::Result<Booted> {
        self.restarts()?;
        self.boot()
    }

    /// Restarts it in order, as the host API does, and goes on as [`Self::reboots`].
    ///
    /// # Errors
    /// As that does, or when the host API refuses.
    pub fn restart(&mut self) -> anyhow::Result<Booted> {
        // What answers goes down, too: no answer is none.
        if let Ok(Answer { status: 1.., stderr, .. }) = self.ask("apiclient raw -m POST -u /actions/reboot") {
            bail!("{}", stderr.trim());
        }
        self.reboots()
    }

    /// The disk as it is now, also while the machine is on.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn disk(&self) -> anyhow::Result<Disk> {
        Ok(Disk::open(&self.dir.join("disk"), "/dev/vda")?)
    }

    /// Runs a shell script inside, as soon as the machine takes any.
    ///
    /// # Errors
    /// When it is not answered in time; the error carries the end of the console. Its failure is no error.
    pub fn ask(&mut self, script: &str) -> anyhow::Result<Answer> {
        let machine = self.machine.as_mut().context("it is off")?;
        machine.ask(script, COMMAND).with_context(|| machine.console_tail())
    }

    /// Runs a shell script inside and returns its stdout.
    ///
    /// # Errors
    /// As [`Self::ask`], or when it fails.
    pub fn exec(&mut self, script: &str) -> anyhow::Result<String> {
        let Answer { status, stdout, stderr } = self.ask(script)?;
        if status != 0 {
            bail!("{script}: exit status {status}: {}", stderr.trim());
        }
        Ok(stdout)
    }

    /// What the agent says of itself: [`Status`], or as much of `status --json` as matters.
    ///
    /// # Errors
    /// When it does not answer, or says something else.
    pub fn status<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        Ok(serde_json::from_str(&self.exec("meshdog status --json")?)?)
    }

    /// Waits until the agent is as it should be.
    ///
    /// # Errors
    /// When it is not in time; the error carries how it is, and the end of the console.
    pub fn until<T>(&mut self, what: &str, when: impl Fn(&T) -> bool) -> anyhow::Result<T>
    where
        T: DeserializeOwned + std::fmt::Debug,
    {
        let settled = eventually(PATIENCE, what, || {
            // Asking takes time from what it waits for.
            thread::sleep(Duration::from_millis(300));
            ensure!(self.is_on(), "the machine has stopped");
            let status = self.status()?;
            ensure!(when(&status), "{status:?}");
            Ok(status)
        });
        let console = || self.machine.as_ref().map(Machine::console_tail).unwrap_or_default();
        Ok(settled.with_context(console)?.0)
    }

    /// Waits until the agent is ready and both containers are healthy.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn serves(&mut self) -> anyhow::Result<Status> {
        self.until("the containers to be healthy", |status: &Status| {
            status.ready && status.service("orders").is_some_and(|orders| orders.healthy() == 2)
        })
    }

    /// Makes both containers unhealthy, or well again.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn sick(&mut self, sick: bool) -> anyhow::Result<()> {
        self.exec(if sick { ": >/run/sick/now" } else { "rm -f /run/sick/now" }).map(drop)
    }

    /// Steers the simulated host: see [`crate::host::control`].
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn control(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<String> {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: simhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.exec(&format!("nc 127.0.0.1 1339 <<'END'\n{request}\nEND"))?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{answer:?} is no HTTP"))?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{method} {path}: {answer}");
        Ok(body.to_owned())
    }
}
