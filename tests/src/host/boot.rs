//! The boot of a host from a disk: the boot loader picks a bank, what is there runs, and the boot is marked successful.

use std::io;
use std::path::{Path, PathBuf};

use bottlerocket_settings::Image;
use meshdog::update::banks::Bank;

use crate::disk::grub;
use crate::disk::running::Running;
use crate::disk::signpost::{Command, Failure, run};
use crate::disk::{Disk, DiskError};

/// How to boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The disk.
    pub disk: PathBuf,
    /// The bank, if it has been chosen already; else the boot loader does.
    pub active: Option<Bank>,
    /// Whether the boot gets as far as `mark-successful-boot`.
    pub succeeds: bool,
}

/// Why there is no boot.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum BootError {
    #[error(transparent)]
    Grub(#[from] grub::BootError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("bank {0} holds no whole image")]
    NoImage(Bank),
    #[error(transparent)]
    Mark(#[from] Failure),
    #[error("cannot tell signpost which bank runs: {0}")]
    Tell(io::Error),
}

impl Boot {
    /// Boots; what runs then. The `signpost` in `dir` knows it.
    ///
    /// # Errors
    /// Nothing boots, or the disk or the directory cannot be written.
    pub fn boot(&self, dir: &Path) -> Result<(Running, Image), BootError> {
        let mut running = Running::new(self.disk.clone(), Bank::A);
        let image;
        (running.active, image) = match self.active {
            Some(bank) => (bank, held(&running.open()?, bank)?),
            None => {
                let booted = grub::boot(&running.disk, &running.shown)?;
                (booted.bank, booted.image)
            }
        };
        running.tell(dir).map_err(BootError::Tell)?;
        if self.succeeds {
            run(Command::MarkSuccessfulBoot, &running)?;
        }
        Ok((running, image))
    }
}

fn held(disk: &Disk, bank: Bank) -> Result<Image, BootError> {
    disk.held(bank)?.image().ok_or(BootError::NoImage(bank))
}

#[cfg(test)]
mod tests;
