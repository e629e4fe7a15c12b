//! `meshdog check`: is this a configuration?

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use super::config_file::ConfigFile;
use super::error::Error;
use super::output::Output;
use crate::config::update::UpdateMode;
use crate::config::{RegistryKind, Settings};

/// Check a configuration file and tell every error in it
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// What a good configuration comes to.
#[derive(Debug, Serialize)]
struct Summary {
    ok: bool,
    path: String,
    namespace: String,
    import: Vec<String>,
    registry: &'static str,
    services: usize,
    dns_capture: bool,
    update: &'static str,
}

impl CheckArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let settings = self.config.load()?;
        output.print(&Summary::new(self.config.path.display().to_string(), &settings))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Summary {
    fn new(path: String, settings: &Settings) -> Self {
        Self {
            ok: true,
            path,
            namespace: settings.mesh.namespace.to_string(),
            import: settings.mesh.import.iter().map(ToString::to_string).collect(),
            registry: match settings.registry {
                RegistryKind::Local => "local",
            },
            services: settings.services.len(),
            dns_capture: settings.dns.capture,
            update: match settings.update.mode {
                UpdateMode::Off => "off",
                UpdateMode::Check => "check",
                UpdateMode::Automatic => "automatic",
            },
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let import = if self.import.is_empty() { "none".to_owned() } else { self.import.join(", ") };
        writeln!(f, "{}: ok", self.path)?;
        writeln!(f, "namespace {}, imports {import}, registry {}", self.namespace, self.registry)?;
        let capture = if self.dns_capture { "captured" } else { "left alone" };
        write!(f, "service rules {}, DNS {capture}, updates {}", self.services, self.update)
    }
}
