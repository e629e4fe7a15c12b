//! User data (TOML) to validated settings: a spanned document, read table by table (`reader`, `validate`, `services`,
//! `update`) into newtypes. Every fault of a file is found in one go and told at its line and column.
//!
//! Nothing outside this module sees the raw form. What the settings leave to the host ([`Auto`]) is found out by
//! `sources::host` and `sources::resolv_conf`. The least that is a configuration:
//!
//! ```
//! # let path = std::path::Path::new("user-data");
//! let settings = meshdog::config::parse(path, r#"
//!     version = 1
//!     mesh.namespace = "prod"
//! "#)?;
//! assert_eq!(settings.mesh.namespace.as_str(), "prod");
//! # Ok::<(), meshdog::config::Errors>(())
//! ```

mod errors;
mod etcd;
mod glob;
mod reader;
mod services;
mod settings;
pub mod update;
mod validate;
mod values;
mod window;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use errors::{Error, Errors, MAX_BYTES};
pub use etcd::EtcdSettings;
pub use glob::Glob;
pub use services::{Match, ServiceRule};
pub use settings::{
    BackendKind, DnsSettings, Locality, MeshSettings, NodeSettings, Paths, RegistryKind, Settings, TelemetrySettings,
};
pub use update::UpdateSettings;
pub use values::Auto;
pub use window::{Window, WindowError};

/// Reads a configuration file and validates it.
///
/// # Errors
/// Every fault of the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Settings, Errors> {
    parse(path, &read(path)?)
}

/// Reads a configuration file as text, unvalidated.
///
/// # Errors
/// Why it cannot be read: it is not there, larger than [`MAX_BYTES`], or not UTF-8.
pub fn read(path: &Path) -> Result<String, Errors> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|problem| Errors::of_file(path, format!("cannot be read: {problem}; check --config and the file")))?;
    if bytes.len() > MAX_BYTES {
        return Err(Errors::too_large(path));
    }
    String::from_utf8(bytes).map_err(|problem| {
        let end = problem.utf8_error().valid_up_to();
        let valid = String::from_utf8_lossy(problem.as_bytes().get(..end).unwrap_or_default());
        let mut faults = errors::Faults::default();
        faults.wrong(end, "is not UTF-8 from here on; save the file as UTF-8".to_owned());
        faults.into_errors(path, &valid)
    })
}

/// Validates the text of a configuration. `path` is only named in messages.
///
/// # Errors
/// Every fault of the text.
pub fn parse(path: &Path, text: &str) -> Result<Settings, Errors> {
    validate::settings(path, text)
}

#[cfg(test)]
mod tests;
