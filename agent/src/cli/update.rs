//! `meshdog update`: where this node's update is, and what a person asks of it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use tokio::time::{sleep, timeout};

use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use super::text;
use crate::telemetry::admin::commands;
use crate::telemetry::status::UpdateStatus;

mod render;

use render::render;

/// How long the host may take to look for updates: it asks a server for them, and may be busy.
const LOOK: Duration = Duration::from_secs(180);
/// Between two looks whether it has.
const POLL: Duration = Duration::from_millis(500);

/// Show and steer the node's update
#[derive(Debug, clap::Args)]
pub(super) struct UpdateArgs {
    #[command(subcommand)]
    command: UpdateCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UpdateCommand {
    /// Show where the update stands and why, what it was judged by, and what came of those before
    Status(ConfigFile),
    /// Have the host look for updates now, and show what comes of it
    Check(ConfigFile),
    /// Let a refused version be taken again, on every node of the group
    Allow {
        #[command(flatten)]
        config: ConfigFile,
        /// The version, such as 1.50.0
        #[arg(value_parser = commands::version)]
        version: Version,
    },
    /// Let no update begin until `resume`; one that has not rebooted yet is called off
    Hold {
        #[command(flatten)]
        config: ConfigFile,
        /// Why, for whoever looks at the status
        #[arg(long, value_name = "TEXT", value_parser = commands::reason)]
        why: Option<std::sync::Arc<str>>,
    },
    /// Let updates go on; forgets how many were taken back, and lets the fleet go on as well
    Resume(ConfigFile),
}

impl UpdateArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let (UpdateCommand::Status(config)
        | UpdateCommand::Check(config)
        | UpdateCommand::Allow { config, .. }
        | UpdateCommand::Hold { config, .. }
        | UpdateCommand::Resume(config)) = &self.command;
        let socket = config.load()?.paths.admin_socket;
        block_on(self.command.carry_out(&socket, output))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl UpdateCommand {
    async fn carry_out(&self, socket: &Path, output: &mut Output<'_>) -> Result<(), Error> {
        let (status, said) = match self {
            Self::Status(_) => (status(socket).await?, None),
            Self::Check(_) => (check(socket).await?, None),
            Self::Allow { version, .. } => {
                let version = version.to_string();
                let status = command(socket, "allow", &[("version", &version)]).await?;
                (status, Some(format!("{version} may be taken")))
            }
            Self::Hold { why, .. } => {
                let why = why.as_deref().map(|why| ("why", why));
                let status = command(socket, "hold", why.as_slice()).await?;
                (status, Some("no update begins until meshdog update resume".to_owned()))
            }
            Self::Resume(_) => (command(socket, "resume", &[]).await?, Some("updates go on".to_owned())),
        };
        let mut out = String::new();
        match said {
            _ if output.json => return Ok(output.print_json(&status)?),
            Some(said) => text::paragraph(&mut out, "", &format!("{said} ({}: {})", status.phase, status.why)),
            None => out = render(&status, Timestamp::now()),
        }
        Ok(output.out.write_all(out.as_bytes())?)
    }
}

async fn status(socket: &Path) -> Result<UpdateStatus, client::Error> {
    client::parse(socket, &client::get(socket, "/update").await?)
}

/// The status after a command was carried out.
async fn command(socket: &Path, command: &str, values: &[(&str, &str)]) -> Result<UpdateStatus, client::Error> {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(values).finish();
    client::parse(socket, &client::post(socket, &format!("/update/{command}?{query}")).await?)
}

/// Has updates looked for; the status once that is over.
async fn check(socket: &Path) -> Result<UpdateStatus, Error> {
    let looked = async {
        let mut now = command(socket, "check", &[]).await?;
        while now.looking {
            sleep(POLL).await;
            now = status(socket).await?;
        }
        Ok(now)
    };
    timeout(LOOK, looked).await.map_err(|_| Error::Slow(LOOK))?
}

#[cfg(test)]
mod tests;
