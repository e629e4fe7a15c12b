//! `meshdog run`: the agent.

use std::process::ExitCode;

use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on_threads;
use crate::app;
use crate::telemetry::logs;

/// Run the agent until it is told to stop
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigFile,
}

impl RunArgs {
    pub(super) fn run(&self) -> Result<ExitCode, Error> {
        let settings = self.config.load()?;
        logs::init(&settings.telemetry.log).map_err(app::Error::Log)?;
        block_on_threads(app::run(settings))?;
        Ok(ExitCode::SUCCESS)
    }
}
