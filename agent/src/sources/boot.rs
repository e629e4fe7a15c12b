//! Which boot this is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that is read of a boot's id, in bytes: a UUID and room.
const MAX_BOOT_ID: u64 = 64;

/// Why it is not known which boot this is.
#[derive(Debug, thiserror::Error)]
pub enum BootIdError {
    /// The file cannot be read.
    #[error("cannot read the boot's id in {path}; check paths.boot_id")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds nothing.
    #[error("{0} holds no boot id; check paths.boot_id")]
    Empty(PathBuf),
}

/// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`, proc(5)).
///
/// # Errors
/// [`BootIdError`]
pub fn boot_id(path: &Path) -> Result<Arc<str>, BootIdError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BOOT_ID).read_to_string(&mut text))
        .map_err(|source| BootIdError::Read { path: path.to_owned(), source })?;
    match text.trim() {
        "" => Err(BootIdError::Empty(path.to_owned())),
        id => Ok(id.into()),
    }
}
