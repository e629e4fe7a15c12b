//! A disk with Bottlerocket's partitions, in a file or a device: what the boot loader, the updater and `signpost` read
//! and write on a real one.
//!
//! Owns the partition table and what the banks hold. Every operation reads the disk anew, since other processes write
//! to it too, and whatever it writes is on the disk when it returns. Which bank runs the disk does not know; that is
//! [`running::Running`].
//!
//! Sources: core-kit `sources/updater/signpost/src/{state,gptprio}.rs`, twoliter `embedded/rpm2img`.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bottlerocket_settings::Image;
use gptman::{GPT, GPTHeader};
use meshdog::update::banks::{Bank, Flags};
use serde::Serialize;

pub mod bits;
pub mod grub;
pub mod held;
pub mod layout;
pub mod running;
pub mod signpost;
pub mod updater;

use held::Held;
use layout::{BOOT, Guid, HASH, PRIVATE, ROOT, SECTOR};

/// Why a disk cannot be used, in `signpost`'s words.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum DiskError {
    #[error("Failed to open {name} for {what}: {why}")]
    Open { name: String, what: &'static str, why: io::Error },
    #[error("Failed to find GPT on device {name}: {why}")]
    Find { name: String, why: gptman::Error },
    #[error("Failed to find guid partition for set {0}")]
    Missing(Bank),
    #[error("Failed to write GPT onto device {name}: {why}")]
    Write { name: String, why: gptman::Error },
    #[error("Failed to access the image of set {bank}: {why}")]
    Image { bank: Bank, why: io::Error },
}

/// The numbers of a bank's partitions, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Kernel and boot loader's configuration; carries the flags.
    pub boot: u32,
    /// The root filesystem.
    pub root: u32,
    /// Its hashes.
    pub hash: u32,
}

/// A disk as it was when it was opened.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
    name: String,
    table: GPT,
    a: Set,
    b: Option<Set>,
    private: u32,
}

impl Disk {
    /// Reads the disk at `path`, which is called `name` in whatever is said of it.
    ///
    /// # Errors
    /// It cannot be read, has no partition table, or lacks a partition.
    pub fn open(path: &Path, name: &str) -> Result<Self, DiskError> {
        let mut file = open(path, name, "reading", OpenOptions::new().read(true))?;
        let table = GPT::find_from(&mut file).map_err(|why| DiskError::Find { name: name.to_owned(), why })?;
        let nth = |kind: Guid, n| {
            let mut of_kind = table.iter().filter(|(_, entry)| entry.partition_type_guid == kind.on_disk());
            of_kind.nth(n).map(|(number, _)| number)
        };
        let set = |bank, n, boot| {
            let missing = || DiskError::Missing(bank);
            Ok(Set { boot, root: nth(ROOT, n).ok_or_else(missing)?, hash: nth(HASH, n).ok_or_else(missing)? })
        };
        let a = set(Bank::A, 0, nth(BOOT, 0).ok_or(DiskError::Missing(Bank::A))?)?;
        // Without a second BOOT, the rest of a second bank does not count.
        let b = nth(BOOT, 1).map(|boot| set(Bank::B, 1, boot)).transpose()?;
        let private = nth(PRIVATE, 0).ok_or(DiskError::Missing(Bank::A))?;
        Ok(Self { path: path.to_owned(), name: name.to_owned(), table, a, b, private })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A bank's partitions; none: the disk has no such bank.
    #[must_use]
    pub fn set(&self, bank: Bank) -> Option<Set> {
        match bank {
            Bank::A => Some(self.a),
            Bank::B => self.b,
        }
    }

    /// A bank's flags.
    #[must_use]
    pub fn flags(&self, bank: Bank) -> Option<Flags> {
        self.set(bank).map(|set| bits::flags(self.table[set.boot].attribute_bits))
    }

    /// Changes a bank's flags; not on the disk before [`Self::write`].
    pub fn set_flags(&mut self, bank: Bank, flags: Flags) {
        if let Some(set) = self.set(bank) {
            let bits = &mut self.table[set.boot].attribute_bits;
            *bits = bits::with_flags(*bits, flags);
        }
    }

    /// Whether any boot was ever marked successful.
    #[must_use]
    pub fn ever_booted(&self) -> bool {
        self.table[self.private].attribute_bits & bits::EVER_BOOTED != 0
    }

    /// Notes that a boot succeeded; not on the disk before [`Self::write`].
    pub fn set_ever_booted(&mut self) {
        self.table[self.private].attribute_bits |= bits::EVER_BOOTED;
    }

    /// Writes both copies of the table: first the one that was read, then the other, which repairs it.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn write(&mut self) -> Result<(), DiskError> {
        let mut file = open(&self.path, &self.name, "writing", OpenOptions::new().write(true))?;
        let written = self.table.write_into(&mut file).and_then(|_| Ok(file.sync_all()?));
        written.map_err(|why| DiskError::Write { name: self.name.clone(), why })
    }

    /// Whether the other copy of the table is whole and says the same: it does not where writing them was cut off.
    ///
    /// # Errors
    /// The disk cannot be opened.
    pub fn is_agreed(&self) -> Result<bool, DiskError> {
        let mut file = open(&self.path, &self.name, "reading", OpenOptions::new().read(true))?;
        let ours = &self.table.header;
        let mut same = || {
            file.seek(SeekFrom::Start(ours.backup_lba * SECTOR))?;
            let other = GPTHeader::read_from(&mut file)?;
            other.read_partitions(&mut file, SECTOR)?;
            gptman::Result::Ok(other.partition_entry_array_crc32 == ours.partition_entry_array_crc32)
        };
        Ok(same().unwrap_or(false))
    }

    /// What a bank holds.
    ///
    /// # Errors
    /// There is no such bank, or it cannot be read.
    pub fn held(&self, bank: Bank) -> Result<Held, DiskError> {
        let file = open(&self.path, &self.name, "reading", OpenOptions::new().read(true))?;
        held::read(&file, self.offset(bank)?).map_err(|why| DiskError::Image { bank, why })
    }

    /// Writes an image to a bank.
    ///
    /// # Errors
    /// There is no such bank, or it cannot be written.
    pub fn hold(&self, bank: Bank, image: &Image) -> Result<(), DiskError> {
        let file = open(&self.path, &self.name, "writing", OpenOptions::new().write(true))?;
        held::write(&file, self.offset(bank)?, image).map_err(|why| DiskError::Image { bank, why })
    }

    /// Where a bank's image is, in bytes.
    fn offset(&self, bank: Bank) -> Result<u64, DiskError> {
        let set = self.set(bank).ok_or(DiskError::Missing(bank))?;
        Ok(self.table[set.boot].starting_lba * SECTOR)
    }

    /// What is to be seen of a bank; none: the disk has no such bank.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(&self, bank: Bank) -> Result<Option<Look>, DiskError> {
        let Some(flags) = self.flags(bank) else { return Ok(None) };
        let held = self.held(bank)?;
        let torn = held == Held::Torn;
        Ok(Some(Look { flags, torn, version: held.image().map(|image| image.version) }))
    }
}

/// What is to be seen of a bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Its flags.
    #[serde(flatten)]
    pub flags: Flags,
    /// The version of the image that it holds.
    pub version: Option<String>,
    /// Whether the writing of its image was cut off.
    pub torn: bool,
}

fn open(path: &Path, name: &str, what: &'static str, how: &OpenOptions) -> Result<File, DiskError> {
    how.open(path).map_err(|why| DiskError::Open { name: name.to_owned(), what, why })
}

#[cfg(test)]
mod tests;
