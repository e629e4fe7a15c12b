//! The boot loader: which bank it takes, and what it writes before it does.
//!
//! Source: kernel-kit `packages/grub/0009-*.patch`.

use std::path::Path;

use bottlerocket_settings::Image;
use meshdog::update::banks::{Bank, Flags};

use super::{Disk, DiskError};

/// Why nothing boots.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// No bank may be booted.
    #[error("no bank can be booted")]
    NoBank,
    /// The bank has booted before, so it is taken for good and tried for ever.
    #[error("bank {0} holds no whole image, and is tried again and again")]
    Stuck(Bank),
    /// The disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// From which bank.
    pub bank: Bank,
    /// The image there.
    pub image: Image,
}

/// Switches the machine on, and again as often as a bank fails to load.
///
/// # Errors
/// Nothing boots.
pub fn boot(path: &Path, name: &str) -> Result<Booted, BootError> {
    loop {
        let mut disk = Disk::open(path, name)?;
        let (bank, flags) = choose(&disk).ok_or(BootError::NoBank)?;
        let tried = flags.tries_left > 0;
        if tried {
            // Before anything is loaded, so that what hangs is not tried for ever.
            disk.set_flags(bank, Flags { tries_left: flags.tries_left - 1, ..flags });
            disk.write()?;
        }
        match disk.held(bank)?.image() {
            Some(image) => return Ok(Booted { bank, image }),
            None if tried => {}
            None => return Err(BootError::Stuck(bank)),
        }
    }
}

/// The bank of the highest priority above 0 among those that may be tried or have booted; the first of two equals.
#[must_use]
pub fn choose(disk: &Disk) -> Option<(Bank, Flags)> {
    let mut best: Option<(Bank, Flags)> = None;
    for bank in [Bank::A, Bank::B] {
        let Some(flags) = disk.flags(bank) else { continue };
        let to_beat = best.map_or(0, |(_, best)| best.priority);
        if flags.priority > to_beat && (flags.tries_left > 0 || flags.successful) {
            best = Some((bank, flags));
        }
    }
    best
}

#[cfg(test)]
mod tests;
