//! Network namespaces without names: each lives as long as its handle, so none is left behind, however the run ends.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// A handle on one network namespace.
#[derive(Debug)]
pub(crate) struct Netns {
    handle: File,
}

impl Netns {
    /// A fresh namespace with its loopback up.
    pub(crate) fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace; run as root")?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let netns = Self { handle: made.join().map_err(|_| anyhow!("a thread panicked"))?? };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// A path to the namespace that other programs of this PID namespace can open.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Runs a closure on a thread of its own inside the namespace. Whatever it starts, threads, sockets and processes,
    /// is in there too.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join().map_err(|_| anyhow!("a thread panicked"))?
        })
    }

    /// As [`Self::run`], without waiting for the end.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let handle = self.handle.try_clone()?;
        Ok(thread::spawn(move || {
            setns(handle, CloneFlags::CLONE_NEWNET)?;
            work()
        }))
    }

    /// Runs `ip` with a batch of commands, one a line.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        self.feed(Command::new("ip").args(["-batch", "-"]), batch)
    }

    /// Runs a program inside the namespace with a text on its standard input. Fails with what it says.
    pub(crate) fn feed(&self, command: &mut Command, input: &str) -> Result<()> {
        self.run(|| {
            let name = command.get_program().to_string_lossy().into_owned();
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
            // Taken, so that it is closed before the wait. A program that stops reading says why on its stderr.
            if let Some(mut stdin) = child.stdin.take() {
                let _ = stdin.write_all(input.as_bytes());
            }
            let done = child.wait_with_output()?;
            if !done.status.success() {
                bail!("{name} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
            }
            Ok(())
        })
    }

    /// Writes a network sysctl of the namespace, such as `ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| std::fs::write(&path, value).with_context(|| format!("cannot write {path}")))
    }

    /// The number of SYNs that TCP sent again in this namespace so far (`TCPSynRetrans` of `/proc/net/netstat`).
    pub(crate) fn syn_retransmits(&self) -> Result<u64> {
        let text = self.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        counter(&text, "TcpExt:", "TCPSynRetrans").context("the kernel does not count SYN retransmits")
    }
}

/// A counter of `/proc/net/netstat`, where a line of names is followed by a line of values.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|word| word == name)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests;
