//! The configuration file that a command is told of.

use std::path::PathBuf;

use clap::Args;

use crate::config;

/// Where a host container finds its user data (Bottlerocket, `host-ctr`: the persistent directory of the container).
pub(super) const DEFAULT_CONFIG: &str = "/.bottlerocket/host-containers/current/user-data";

/// The configuration that a command reads.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "PATH", default_value = DEFAULT_CONFIG)]
    pub(super) path: PathBuf,
}

impl ConfigFile {
    pub(super) fn load(&self) -> Result<config::Settings, config::Errors> {
        config::load(&self.path)
    }
}
