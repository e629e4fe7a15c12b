//! Runs the host's `signpost`, as an operator would with `nsenter`: in PID 1's namespaces, since only there its disk,
//! its `/sys` and its libraries are to be found.
//!
//! Owns a run of the program from its start to its end, and bounds its time and what it may say. Decides nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::Banks;
use super::status::StatusError;

/// How long the program may take. It writes a few sectors; a disk that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes that it may write to each of its standard output and standard error.
const MAX_OUTPUT: u64 = 64 << 10;
/// The whole of its environment: a program of the host finds those beside it, and nothing of ours.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the host's namespaces are, in a container that shares its process ids.
const HOST: &str = "/proc/1/ns";
/// Those that a program of the host is run in. The network and the process ids are the host's already; the mounts come
/// last, as everything else is opened before.
const NAMESPACES: [(&str, CloneFlags); 4] = [
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("mnt", CloneFlags::CLONE_NEWNS),
];
/// What it says where the disk has one bank. Source: core-kit `sources/updater/signpost/src/error.rs`.
const SINGLE_BANK: (&str, &str) = ("Inactive partition ", " is not available");

/// Why the banks could not be seen or turned.
#[derive(Debug, thiserror::Error)]
pub enum SignpostError {
    /// The image has no such program, as those have none that are replaced whole.
    #[error("{} is not on this host, so it takes no updates in place", .0.display())]
    Absent(PathBuf),
    /// The disk has one bank.
    #[error("the disk has one bank only, so this host takes no updates in place")]
    SingleBank,
    /// PID 1's namespaces cannot be had.
    #[error("cannot open {}; meshdog has to run in a superpowered host container", .path.display())]
    Namespace {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program cannot be run there, or its output cannot be read.
    #[error("cannot run {} {command} in the host's namespaces", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Its sub-command.
        command: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("signpost {0} took longer than {TIMEOUT:?} and was killed; look at the host's disk")]
    Timeout(&'static str),
    /// It said more than it has to say, and was killed.
    #[error("signpost {0} wrote more than {MAX_OUTPUT} bytes and was killed")]
    TooLong(&'static str),
    /// It says that it failed.
    #[error("signpost {command} failed ({status}): {stderr}")]
    Failed {
        /// Its sub-command.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its own words.
        stderr: String,
    },
    /// Its status is not one that is understood.
    #[error("cannot read what signpost status says")]
    Unreadable(#[source] StatusError),
}

impl SignpostError {
    /// Whether this host has no two banks at all, so that asking again is of no use until it is another image.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::SingleBank)
    }
}

impl From<StatusError> for SignpostError {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::SingleBank => Self::SingleBank,
            error => Self::Unreadable(error),
        }
    }
}

/// The host's signpost.
#[derive(Debug, Clone)]
pub struct Signpost {
    /// Where it is, in the host's mount namespace.
    program: PathBuf,
    /// Where the namespaces are that it runs in.
    namespaces: PathBuf,
    /// Which of them it is run in.
    kinds: &'static [(&'static str, CloneFlags)],
}

impl Signpost {
    /// The program at this absolute path of the host.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program, namespaces: HOST.into(), kinds: &NAMESPACES }
    }

    /// The banks as they are.
    ///
    /// # Errors
    /// The program cannot be run or fails, or what it prints is not understood.
    pub async fn status(&self) -> Result<Banks, SignpostError> {
        let status = self.run("status").await?;
        Ok(status.parse::<Banks>()?)
    }

    /// Lets the next boot take the bank that does not run, if that one ever booted or may be tried.
    ///
    /// # Errors
    /// The program cannot be run, refuses or fails.
    pub async fn roll_back(&self) -> Result<(), SignpostError> {
        self.run("rollback-to-inactive").await.map(drop)
    }

    /// Runs one sub-command and hands back what it printed. Dropped half-way, it is killed.
    async fn run(&self, command: &'static str) -> Result<String, SignpostError> {
        let cannot = |source| SignpostError::Run { program: self.program.clone(), command, source };
        let mut process = Command::new(&self.program);
        process.arg(command).env_clear().env("PATH", PATH).kill_on_drop(true);
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        enter(&mut process, &self.namespaces, self.kinds)?;
        let mut child = process.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SignpostError::Absent(self.program.clone()),
            _ => cannot(error),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (stdout, stderr) = tokio::try_join!(read(stdout), read(stderr))?;
            Ok((child.wait().await?, stdout, stderr))
        };
        let ended = timeout(TIMEOUT, ended).await.map_err(|_| SignpostError::Timeout(command))?;
        let (status, stdout, stderr) = ended.map_err(|unread| match unread {
            Unread::TooLong => SignpostError::TooLong(command),
            Unread::Failed(source) => cannot(source),
        })?;
        if status.success() { Ok(stdout) } else { Err(failed(command, status, stderr.trim_end())) }
    }
}

fn failed(command: &'static str, status: ExitStatus, stderr: &str) -> SignpostError {
    let (before, after) = SINGLE_BANK;
    if stderr.starts_with(before) && stderr.ends_with(after) {
        return SignpostError::SingleBank;
    }
    SignpostError::Failed { command, status, stderr: stderr.to_owned() }
}

/// Why there is no output.
enum Unread {
    TooLong,
    Failed(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// All that comes out of a pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Result<String, Unread> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(Unread::TooLong);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Has the process begin in these namespaces.
#[expect(unsafe_code, reason = "a process can join namespaces only between its fork and its exec")]
fn enter(process: &mut Command, namespaces: &Path, kinds: &[(&str, CloneFlags)]) -> Result<(), SignpostError> {
    let open = |&(name, kind): &(&str, CloneFlags)| {
        let path = namespaces.join(name);
        match File::open(&path) {
            Ok(file) => Ok((file, kind)),
            Err(source) => Err(SignpostError::Namespace { path, source }),
        }
    };
    let handles = kinds.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: between fork and exec only what is async-signal-safe may be called; this makes system calls on files that
    // are open already, and allocates nothing.
    unsafe {
        process.pre_exec(move || {
            for (handle, kind) in &handles {
                setns(handle, *kind)?;
            }
            Ok(())
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
