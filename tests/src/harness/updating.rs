//! A node that takes updates: a disk with two banks, a host that reboots, and an agent that dies with every boot.
//!
//! The boot loader is played on the disk's own bits; what a boot clears, this clears: processes, the host's update
//! status, the boot id. dockerd and containers stay, so that a boot takes no time; scenarios stop and start them.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Agent, SimHost, eventually};

/// How long anything may take that needs no settling. Generous: machines that run tests are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node.
#[derive(Debug)]
pub struct Updating {
    /// The agent of this boot.
    pub agent: Agent,
    simhost: SimHost,
    dir: PathBuf,
    boots: Cell<u32>,
    reboots_seen: Cell<u64>,
}

/// As much of the update's status as scenarios look at.
#[derive(Debug, Clone, Deserialize)]
pub struct Update {
    /// Where it stands.
    pub phase: String,
    /// Why.
    pub why: String,
    /// What runs.
    pub running: Option<String>,
    /// Versions it will not take.
    pub refused: Vec<String>,
    /// Updates that are over, oldest first.
    #[serde(default)]
    pub history: Vec<Past>,
    /// Whether all this is about to be known anew.
    #[serde(default)]
    pub looking: bool,
    /// Why nothing may begin.
    #[serde(default)]
    pub held: Option<Value>,
}

/// An update that is over.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Past {
    /// What was to be run.
    pub to: String,
    /// How it ended.
    pub end: String,
    /// Why.
    pub why: String,
}

impl Update {
    /// How the updates ended, oldest first.
    #[must_use]
    pub fn ends(&self) -> Vec<(&str, &str)> {
        self.history.iter().map(|past| (&*past.to, &*past.end)).collect()
    }
}

impl Updating {
    /// A node called `name` that runs 1.20.5 from bank A; `extra` is appended to its user data, after `[paths]`.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn start(programs: &Path, world: &Path, name: &str, extra: &str) -> anyhow::Result<Self> {
        let dir = world.join(name);
        std::fs::create_dir_all(&dir)?;
        let disk = dir.join("disk.img");
        let disk = disk.to_str().context("a path that is no text")?;
        let args = ["--disk", disk, "--version", "1.20.5", "--hostname", name];
        let simhost = SimHost::start_with(&programs.join("simhost"), &dir, &args)?;
        std::fs::write(dir.join("boot_id"), "boot-1\n")?;
        let extra = format!(
            "signpost = \"{}\"\nboot_id = \"{}\"\n{extra}",
            dir.join("host/signpost").display(),
            dir.join("boot_id").display()
        );
        let agent = Agent::start(&programs.join("meshdog"), &dir, &simhost, &extra)?;
        Ok(Self { agent, simhost, dir, boots: Cell::new(1), reboots_seen: Cell::new(0) })
    }

    /// What the host's updater finds from now on, newest first; the agent is told to look.
    ///
    /// # Errors
    /// When the host does not take it, or the agent does not answer.
    pub fn offer(&self, versions: &[&str]) -> anyhow::Result<()> {
        self.control("PUT", "/updates", &json!({ "available": versions }))?;
        self.say(&["check"])
    }

    /// `meshdog update WORDS`
    ///
    /// # Errors
    /// When it fails.
    pub fn say(&self, words: &[&str]) -> anyhow::Result<()> {
        let out = self.agent.command(&[&["update"], words].concat())?;
        ensure!(out.status.success(), "update {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }

    /// One request to the simulated host's control API.
    ///
    /// # Errors
    /// When it refuses.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let address = self.simhost.ready.control.trim_start_matches("http://");
        let body = body.to_string();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: simhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.contains(" 200 "), "{method} {path}: {answer}");
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_str(body)? })
    }

    /// One request to the host API, as somebody else would make it.
    ///
    /// # Errors
    /// When it refuses.
    pub fn foreign(&self, path: &str) -> anyhow::Result<()> {
        let attempt = || {
            let mut stream = UnixStream::connect(&self.simhost.ready.api)?;
            write!(
                stream,
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            ensure!(answer.starts_with("HTTP/1.1 204"), "POST {path}: {answer}");
            Ok(())
        };
        // Busy with what was asked before.
        eventually(Duration::from_secs(10), "the host", attempt).map(drop)
    }

    /// Runs the host's signpost.
    ///
    /// # Errors
    /// When it fails.
    pub fn signpost(&self, command: &str) -> anyhow::Result<String> {
        super::output(std::process::Command::new(self.dir.join("host/signpost")).arg(command))
    }

    /// Both banks, as the simulated host shows them.
    ///
    /// # Errors
    /// When it does not.
    pub fn disk(&self) -> anyhow::Result<Value> {
        self.control("GET", "/disk", &Value::Null)
    }

    /// The version lock.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn version_lock(&self) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.simhost.ready.api)?;
        let path = "/settings?keys=settings.updates.version-lock";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let body: Value = serde_json::from_str(body)?;
        Ok(body.pointer("/updates/version-lock").and_then(Value::as_str).context("no version lock")?.to_owned())
    }

    /// The power goes and comes back: whatever the agent was doing, it is gone. `succeeds`: this boot, if it is the first
    /// of its image, gets as far as to be marked successful; otherwise the host falls back at once, as after a panic.
    ///
    /// # Errors
    /// When a part does not come up again.
    pub fn power_cycle(&mut self, succeeds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        if self.agent.alive() {
            self.agent.kill()?;
        }
        loop {
            self.control("POST", "/boot", &json!({ "succeeds": false }))?;
            let version = self.running()?;
            if succeeds(&version) {
                // What has booted has its own way from here on.
                self.signpost("mark-successful-boot")?;
                break;
            }
        }
        self.boots.set(self.boots.get() + 1);
        std::fs::write(self.dir.join("boot_id"), format!("boot-{}\n", self.boots.get()))?;
        self.agent.restart()
    }

    /// The version that runs, by the disk.
    ///
    /// # Errors
    /// When the host does not say.
    pub fn running(&self) -> anyhow::Result<String> {
        let disk = self.disk()?;
        let active = disk["active"].as_str().context("no active bank")?.to_lowercase();
        let version = disk.pointer(&format!("/{active}/image/version")).or(disk.pointer(&format!("/{active}/version")));
        Ok(version.and_then(Value::as_str).with_context(|| format!("no version in {disk}"))?.to_owned())
    }

    /// Whether the host was asked to reboot since the last time this was asked.
    ///
    /// # Errors
    /// When the host does not say.
    pub fn asked_to_reboot(&self) -> anyhow::Result<bool> {
        let state = self.control("GET", "/state", &Value::Null)?;
        let reboots = state["reboots"].as_u64().context("no count of reboots")?;
        Ok(reboots > self.reboots_seen.replace(reboots))
    }

    /// The update's status.
    ///
    /// # Errors
    /// When the agent does not say.
    pub fn update(&self) -> anyhow::Result<Update> {
        let out = self.agent.command(&["update", "status", "--json"])?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// Waits until the update's status is as it should be, rebooting the host whenever it is asked to.
    ///
    /// # Errors
    /// When it is not in time; the error carries how it is.
    pub fn until(
        &mut self,
        what: &str,
        succeeds: impl Fn(&str) -> bool,
        when: impl Fn(&Update) -> bool,
    ) -> anyhow::Result<Update> {
        let mut last = None;
        let found = eventually(PATIENCE, what, || {
            std::thread::sleep(Duration::from_millis(50));
            let update = self.update()?;
            last = Some(update.clone());
            if when(&update) {
                return Ok(update);
            }
            // Not before it was looked at: what asks for a reboot may be what is waited for.
            if self.asked_to_reboot()? {
                self.power_cycle(&succeeds)?;
            }
            bail!("{update:?}")
        });
        match found {
            Ok((update, _)) => Ok(update),
            Err(error) => Err(error.context(format!("last: {last:?}; {}", self.agent.log_tail()))),
        }
    }
}
