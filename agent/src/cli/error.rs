//! Why a command did not do its work, and the exit code for it.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::client;
use crate::names::hosts::FileError;
use crate::{app, config, dataplane};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] config::Errors),
    /// Standard output is gone or full.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The Bottlerocket settings are larger than EC2 takes.
    #[error(
        "the settings take {bytes} bytes and EC2 takes less than {limit} of user data; shorten the configuration \
         (comments count, labels need no [[service]]), compress the instance's user data with gzip, or set \
         settings.host-containers.meshdog.user-data through the host's API after boot"
    )]
    TooLarge {
        /// How large they are.
        bytes: usize,
        /// What is too large already.
        limit: usize,
    },
    /// The running agent does not answer, or not so.
    #[error(transparent)]
    Agent(#[from] client::Error),
    /// The host takes too long to look for updates.
    #[error("the host has not looked for updates within {0:?}; see meshdog update status, and the agent's log")]
    Slow(Duration),
    /// The agent cannot run.
    #[error(transparent)]
    Run(#[from] app::Error),
    /// A running agent would put back at once what is removed.
    #[error("an agent answers at {0} and would put everything back; stop it first (enabled = false)")]
    AgentRuns(PathBuf),
    /// The table cannot be removed.
    #[error("cannot remove what is in the kernel; run as root in the host's network namespace")]
    Uninstall(#[from] dataplane::Error),
    /// The counting of bytes.
    #[error("what was in the kernel is removed, but net.netfilter.nf_conntrack_acct cannot be turned off again")]
    Accounting(#[source] io::Error),
    /// Docker's files cannot be found.
    #[error("cannot take mesh names out of hosts files; set paths.docker_root to where Docker keeps its files")]
    HostsFiles(#[from] FileError),
    /// No event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
}

impl Error {
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            // Who reads no further has seen enough.
            Self::Output(problem) if problem.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}
