//! `meshdog uninstall`: takes out of the kernel what the agent put there.

use std::path::Path;
use std::process::ExitCode;

use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use crate::dataplane::{self, conntrack::accounting};
use crate::mesh::range;

/// Remove the table and the resolver's address; stop the agent first
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    #[command(flatten)]
    config: ConfigFile,
}

impl UninstallArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let settings = self.config.load()?;
        let ranges = range::of_this_boot(&settings.mesh, &settings.paths);
        let mark = settings.paths.state_dir.join(accounting::MARK);
        let socket = settings.paths.admin_socket;
        block_on(async {
            match client::get(&socket, "/healthz").await {
                Err(client::Error::Connect { .. }) => {
                    dataplane::uninstall(ranges).await?;
                    accounting::turn_back(Path::new(accounting::SWITCH), &mark).map_err(Error::Accounting)
                }
                _ => Err(Error::AgentRuns(socket)),
            }
        })?;
        writeln!(output.out, "removed; connections to services are no longer balanced")?;
        Ok(ExitCode::SUCCESS)
    }
}
