//! Where settings outlive a boot: one file, as the datastore on a host's PRIVATE partition does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

/// The settings that were written last; none: nothing was ever written.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub(super) fn read(file: &Path) -> io::Result<Option<Map<String, Value>>> {
    match fs::read(file) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the settings; they are on the disk when this returns, whole or as they were before.
///
/// # Errors
/// The disk cannot be written.
pub(super) fn write(file: &Path, settings: &Value) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut writing = File::create(&new)?;
    writing.write_all(&serde_json::to_vec(settings)?)?;
    writing.sync_all()?;
    fs::rename(&new, file)?;
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}
