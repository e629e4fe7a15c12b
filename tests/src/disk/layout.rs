//! Makes disks: Bottlerocket's partitions by type, order and name, each of 1 MiB.
//!
//! Source: twoliter `embedded/{rpm2img,partyplanner}`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use bottlerocket_settings::Image;
use gptman::{GPT, GPTPartitionEntry};
use meshdog::update::banks::{Bank, Flags};
use uuid::Uuid;

use super::Disk;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Sectors of a partition, and the boundary on which one begins.
const PARTITION: u64 = 2048;

/// A partition's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(Uuid);

impl Guid {
    const fn new(guid: u128) -> Self {
        Self(Uuid::from_u128(guid))
    }

    /// As it is written in a partition table.
    #[must_use]
    pub fn on_disk(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }
}

const BIOS_BOOT: Guid = Guid::new(0x21686148_6449_6e6f_744e_656564454649);
const EFI_SYSTEM: Guid = Guid::new(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
const EFI_BACKUP: Guid = Guid::new(0xb39ce39c_0a00_b4ab_2d11_f18f8237a21c);
const RESERVED: Guid = Guid::new(0x0c5d99a5_d331_4147_baef_08e2b855bdc9);
const DATA: Guid = Guid::new(0x626f7474_6c65_6474_6861_726d61726b73);
/// Carries a bank's flags, and its kernel.
pub const BOOT: Guid = Guid::new(0x6b636168_7420_6568_2070_6c616e657421);
/// A bank's root filesystem.
pub const ROOT: Guid = Guid::new(0x5526016a_1a97_4ea4_b39a_b7c8c6ca4502);
/// Its hashes.
pub const HASH: Guid = Guid::new(0x598f10af_c955_4456_6a99_7720068a6cea);
/// The host's settings; outlives updates.
pub const PRIVATE: Guid = Guid::new(0x440408bb_eb0b_4328_a6e5_a29038fad706);

const BANK_A: [(Guid, &str); 6] = [
    (BIOS_BOOT, "BIOS-BOOT"),
    (EFI_SYSTEM, "EFI-SYSTEM"),
    (BOOT, "BOTTLEROCKET-BOOT-A"),
    (ROOT, "BOTTLEROCKET-ROOT-A"),
    (HASH, "BOTTLEROCKET-HASH-A"),
    (RESERVED, "BOTTLEROCKET-RESERVED-A"),
];
const BANK_B: [(Guid, &str); 5] = [
    (EFI_BACKUP, "EFI-BACKUP"),
    (BOOT, "BOTTLEROCKET-BOOT-B"),
    (ROOT, "BOTTLEROCKET-ROOT-B"),
    (HASH, "BOTTLEROCKET-HASH-B"),
    (RESERVED, "BOTTLEROCKET-RESERVED-B"),
];
const SHARED: [(Guid, &str); 2] = [(PRIVATE, "BOTTLEROCKET-PRIVATE"), (DATA, "")];

/// How many banks a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Banked {
    /// One: the image takes no updates in place.
    One,
    /// Two.
    Two,
}

/// Makes a disk as it leaves the factory: `image` in bank A, which counts as having booted, and nothing in bank B.
/// A file is made anew; it is sparse.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn create(path: &Path, banked: Banked, image: &Image) -> io::Result<()> {
    let second: &[_] = match banked {
        Banked::One => &[],
        Banked::Two => &BANK_B,
    };
    let partitions = || BANK_A.iter().chain(second).chain(&SHARED);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    // One piece before the partitions and one after them hold the table.
    file.set_len((partitions().count() as u64 + 2) * PARTITION * SECTOR)?;
    table(&mut file, partitions()).map_err(io::Error::other)?;
    let mut disk = Disk::open(path, &path.to_string_lossy()).map_err(io::Error::other)?;
    disk.set_flags(Bank::A, Flags { priority: 1, tries_left: 0, successful: true });
    disk.write().map_err(io::Error::other)?;
    disk.hold(Bank::A, image).map_err(io::Error::other)
}

fn table<'a>(file: &mut File, partitions: impl Iterator<Item = &'a (Guid, &'a str)>) -> gptman::Result<()> {
    let mut table = GPT::new_from(file, SECTOR, Guid(Uuid::new_v4()).on_disk())?;
    for (number, (kind, name)) in (1..).zip(partitions) {
        let starting_lba = u64::from(number) * PARTITION;
        table[number] = GPTPartitionEntry {
            partition_type_guid: kind.on_disk(),
            unique_partition_guid: Guid(Uuid::new_v4()).on_disk(),
            starting_lba,
            ending_lba: starting_lba + PARTITION - 1,
            attribute_bits: 0,
            partition_name: (*name).into(),
        };
    }
    GPT::write_protective_mbr_into(file, SECTOR)?;
    table.write_into(file)?;
    Ok(file.sync_all()?)
}
