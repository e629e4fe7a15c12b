//! `meshdog uninstall`: takes out of the kernel, and out of containers' hosts files, what the agent put there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;

use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use crate::config::{Auto, Paths};
use crate::dataplane::{self, conntrack::accounting};
use crate::mesh::range;
use crate::model::error_chain;
use crate::names::hosts::{self, FileError, TakenOut};
use crate::sources::docker;

/// Where Docker keeps its files unless it is told otherwise.
const DEFAULT_ROOT: &str = "/var/lib/docker";
/// The most hosts files that are named because of a failure.
const SHOWN: usize = 20;

/// Remove the table, the resolver's address, and mesh names from hosts files; stop the agent first
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
        let socket = settings.paths.admin_socket.clone();
        let root = block_on(async {
            match client::get(&socket, "/healthz").await {
                Err(client::Error::Connect { .. }) => {
                    dataplane::uninstall(ranges).await?;
                    accounting::turn_back(Path::new(accounting::SWITCH), &mark).map_err(Error::Accounting)?;
                }
                _ => return Err(Error::AgentRuns(socket)),
            }
            Ok(docker_root(&settings.paths).await)
        })?;
        writeln!(output.out, "removed; connections to services are no longer balanced")?;
        let TakenOut { files, failed } = match hosts::take_out(&root) {
            // No Docker was ever here.
            Err(FileError::Root { source: Errno::ENOENT, .. }) if settings.paths.docker_root == Auto::Auto => {
                TakenOut::default()
            }
            taken_out => taken_out?,
        };
        writeln!(output.out, "mesh names were taken out of {files} hosts files below {}", root.display())?;
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        for (container, error) in failed.iter().take(SHOWN) {
            writeln!(output.out, "but not out of that of container {container}: {}", error_chain(error))?;
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Where Docker's files are. Where Docker is gone, where it keeps them by default.
async fn docker_root(paths: &Paths) -> PathBuf {
    let named = match paths.docker_root {
        Auto::Set(_) => None,
        Auto::Auto => docker::root(&paths.docker_socket).await.ok(),
    };
    let default = Path::new(DEFAULT_ROOT);
    hosts::seen(&paths.docker_root, Some(named.as_deref().unwrap_or(default))).unwrap_or_else(|| default.to_owned())
}
