//! Which bank of which disk runs: what a real `signpost` finds out from `/`, and this one is told.
//!
//! A host keeps the file `signpost.json` in its directory; the program `signpost` looks for it beside itself. In a
//! virtual machine the kernel's command line says it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use meshdog::update::banks::Bank;
use serde::{Deserialize, Serialize};

use super::{Disk, DiskError};

/// The file that says what runs.
const FILE: &str = "signpost.json";
/// What says so on the kernel's command line, and the disk that is meant then.
const KERNEL: (&str, &str) = ("meshdog.active=", "/dev/vda");
/// What the disk of an EC2 instance is called.
const SHOWN: &str = "/dev/nvme0n1";

/// The bank that runs, and its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The disk: a file or a device.
    pub disk: PathBuf,
    /// The bank.
    pub active: Bank,
    /// What the disk is called in whatever is said of it.
    #[serde(default = "shown")]
    pub shown: String,
}

fn shown() -> String {
    SHOWN.to_owned()
}

impl Running {
    /// A bank of the disk at this path, which is called as on EC2.
    #[must_use]
    pub fn new(disk: PathBuf, active: Bank) -> Self {
        Self { disk, active, shown: shown() }
    }

    /// The disk as it is now.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(&self) -> Result<Disk, DiskError> {
        Disk::open(&self.disk, &self.shown)
    }

    /// Has the `signpost` in this directory know it from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell(&self, dir: &Path) -> io::Result<()> {
        let told = Self { disk: std::path::absolute(&self.disk)?, ..self.clone() };
        // The program may be reading it.
        let new = dir.join(format!("{FILE}.new"));
        fs::write(&new, serde_json::to_vec(&told)?)?;
        fs::rename(new, dir.join(FILE))
    }

    /// What the program at this path is to know: from the file beside it, else from the kernel's command line.
    ///
    /// # Errors
    /// Neither says.
    pub fn find(program: &Path, command_line: &str) -> io::Result<Self> {
        let file = program.with_file_name(FILE);
        match fs::read(&file) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::by_kernel(command_line).ok_or_else(|| {
                let text = format!("neither {} nor {}A|B on the kernel's command line", file.display(), KERNEL.0);
                io::Error::new(io::ErrorKind::NotFound, text)
            }),
            Err(error) => Err(error),
        }
    }

    fn by_kernel(command_line: &str) -> Option<Self> {
        let (argument, disk) = KERNEL;
        let active = match command_line.split_whitespace().find_map(|word| word.strip_prefix(argument))? {
            "A" => Bank::A,
            "B" => Bank::B,
            _ => return None,
        };
        Some(Self { disk: disk.into(), active, shown: disk.to_owned() })
    }
}

/// Puts the program `signpost` into a directory in which a host, or [`Running::tell`], says what runs. Returns its path
/// there.
///
/// # Errors
/// There is no such program, or the directory cannot be written.
pub fn install(program: &Path, dir: &Path) -> io::Result<PathBuf> {
    let installed = dir.join("signpost");
    match fs::remove_file(&installed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A link: a copy that this process just wrote could not be executed while another test's child has it open.
    std::os::unix::fs::symlink(program.canonicalize()?, &installed)?;
    Ok(installed)
}

#[cfg(test)]
mod tests;
