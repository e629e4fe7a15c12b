//! `meshdog uninstall`: takes out of the kernel what the agent put there.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigFile, Error, Output, block_on, client};
use crate::dataplane;

/// Remove the table and the resolver's address; stop the agent first
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// A running agent would put it all back at once.
    #[error("an agent answers at {0} and would put everything back; stop it first (enabled = false)")]
    Running(PathBuf),
    /// The kernel refused.
    #[error("cannot remove what is in the kernel; run as root in the host's network namespace")]
    Kernel(#[from] dataplane::Error),
}

impl UninstallArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let settings = self.config.load()?;
        let socket = settings.paths.admin_socket;
        let gone = block_on(async {
            match client::get(&socket, "/healthz").await {
                Err(client::Error::Connect { .. }) => Ok(dataplane::uninstall(settings.mesh.vip_ranges).await?),
                _ => Err(Refused::Running(socket)),
            }
        });
        gone?;
        writeln!(output.out, "removed; connections to services are no longer balanced")?;
        Ok(ExitCode::SUCCESS)
    }
}
