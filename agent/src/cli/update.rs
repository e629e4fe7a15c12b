//! `meshdog update status`: where this node stands with its updates.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::{ConfigFile, Error, Output, block_on, client};
use crate::telemetry::status::{Status, UpdateStatus};

/// Look after the node's updates
#[derive(Debug, clap::Args)]
pub(super) struct UpdateArgs {
    #[command(subcommand)]
    command: UpdateCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UpdateCommand {
    /// Show what is done about updates, and why
    Status(ConfigFile),
}

impl UpdateArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let UpdateCommand::Status(config) = &self.command;
        let socket = config.load()?.paths.admin_socket;
        let status: Status = block_on(async {
            let body = client::get(&socket, "/status").await?;
            client::parse(&socket, &body)
        })?;
        output.print(&Shown(status.update))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(UpdateStatus);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(update) = self;
        writeln!(f, "phase    {}: {}", update.phase, update.why)?;
        writeln!(f, "running  {}", update.running.as_deref().unwrap_or("not known"))?;
        write!(f, "chosen   {}", update.chosen.as_deref().unwrap_or("none"))?;
        if !update.refused.is_empty() {
            write!(f, "\nrefused  {}", update.refused.join(", "))?;
        }
        Ok(())
    }
}
