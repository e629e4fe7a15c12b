use tempfile::TempDir;

use super::layout::{Banked, create};
use super::*;

/// A disk as it leaves the factory, gone with the test.
pub(super) struct Factory {
    _dir: TempDir,
    pub(super) path: PathBuf,
}

pub(super) const NAME: &str = "/dev/nvme0n1";

impl Factory {
    pub(super) fn new(banked: Banked) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        create(&path, banked, &image("1.20.5")).unwrap();
        Self { _dir: dir, path }
    }

    pub(super) fn disk(&self) -> Result<Disk, DiskError> {
        Disk::open(&self.path, NAME)
    }

    /// A disk with these flags.
    pub(super) fn with(a: Flags, b: Flags) -> Self {
        let factory = Self::new(Banked::Two);
        let mut disk = factory.disk().unwrap();
        disk.set_flags(Bank::A, a);
        disk.set_flags(Bank::B, b);
        disk.write().unwrap();
        factory
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    /// Zeroes a sector, counted from the end if it is negative.
    pub(super) fn damage(&self, sector: i64) {
        let mut bytes = self.bytes();
        let start = usize::try_from(sector * 512 + if sector < 0 { bytes.len() as i64 } else { 0 }).unwrap();
        bytes[start..start + 512].fill(0);
        std::fs::write(&self.path, bytes).unwrap();
    }

    /// Removes partitions.
    pub(super) fn without(self, numbers: &[u32]) -> Self {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        let mut table = GPT::find_from(&mut file).unwrap();
        numbers.iter().for_each(|number| table.remove(*number).unwrap());
        table.write_into(&mut file).unwrap();
        self
    }

    /// The attribute words of BOOT-A, BOOT-B and PRIVATE.
    pub(super) fn words(&self) -> [u64; 3] {
        let table = GPT::find_from(&mut File::open(&self.path).unwrap()).unwrap();
        [3, 8, 12].map(|number| table[number].attribute_bits)
    }
}

pub(super) fn image(version: &str) -> Image {
    Image { arch: "x86_64".into(), version: version.into(), variant: "aws-ecs-2".into() }
}

pub(super) fn flags(priority: u8, tries_left: u8, successful: bool) -> Flags {
    Flags { priority, tries_left, successful }
}

#[test]
fn a_disk_from_the_factory_is_laid_out_as_recorded() {
    let factory = Factory::new(Banked::Two);
    let table = GPT::find_from(&mut File::open(&factory.path).unwrap()).unwrap();
    let partitions: Vec<_> = table.iter().filter(|(_, entry)| entry.is_used()).collect();
    let rows = partitions.iter().map(|(number, entry)| {
        let kind = uuid::Uuid::from_bytes_le(entry.partition_type_guid);
        format!("{number} {kind} {:016x} {}\n", entry.attribute_bits, entry.partition_name)
    });
    insta::assert_snapshot!(rows.collect::<String>(), @"
    1 21686148-6449-6e6f-744e-656564454649 0000000000000000 BIOS-BOOT
    2 c12a7328-f81f-11d2-ba4b-00a0c93ec93b 0000000000000000 EFI-SYSTEM
    3 6b636168-7420-6568-2070-6c616e657421 0101000000000000 BOTTLEROCKET-BOOT-A
    4 5526016a-1a97-4ea4-b39a-b7c8c6ca4502 0000000000000000 BOTTLEROCKET-ROOT-A
    5 598f10af-c955-4456-6a99-7720068a6cea 0000000000000000 BOTTLEROCKET-HASH-A
    6 0c5d99a5-d331-4147-baef-08e2b855bdc9 0000000000000000 BOTTLEROCKET-RESERVED-A
    7 b39ce39c-0a00-b4ab-2d11-f18f8237a21c 0000000000000000 EFI-BACKUP
    8 6b636168-7420-6568-2070-6c616e657421 0000000000000000 BOTTLEROCKET-BOOT-B
    9 5526016a-1a97-4ea4-b39a-b7c8c6ca4502 0000000000000000 BOTTLEROCKET-ROOT-B
    10 598f10af-c955-4456-6a99-7720068a6cea 0000000000000000 BOTTLEROCKET-HASH-B
    11 0c5d99a5-d331-4147-baef-08e2b855bdc9 0000000000000000 BOTTLEROCKET-RESERVED-B
    12 440408bb-eb0b-4328-a6e5-a29038fad706 0000000000000000 BOTTLEROCKET-PRIVATE
    13 626f7474-6c65-6474-6861-726d61726b73 0000000000000000 
    ");
    // On the disk, the type of BOOT can be read.
    assert_eq!(&BOOT.on_disk(), b"hack the planet!");

    let disk = factory.disk().unwrap();
    let set = |boot, root, hash| Some(Set { boot, root, hash });
    assert_eq!((disk.set(Bank::A), disk.set(Bank::B)), (set(3, 4, 5), set(8, 9, 10)));
    assert_eq!(disk.flags(Bank::A), Some(flags(1, 0, true)));
    assert_eq!(disk.flags(Bank::B), Some(flags(0, 0, false)));
    assert!(!disk.ever_booted());
    assert_eq!(disk.held(Bank::A).unwrap(), Held::Image(image("1.20.5")));
    assert_eq!(disk.held(Bank::B).unwrap(), Held::Nothing);
    assert!(create(&factory.path, Banked::Two, &image("1.0.0")).is_err(), "a disk is not written over");
}

#[test]
fn flags_have_the_bits_that_were_recorded() {
    let words = [
        (0x0101_0000_0000_0000, flags(1, 0, true)),
        (0x0012_0000_0000_0000, flags(2, 1, false)),
        (0x0010_0000_0000_0000, flags(0, 1, false)),
        (0x0102_0000_0000_0000, flags(2, 0, true)),
        (0x00ff_0000_0000_0000, flags(15, 15, false)),
    ];
    for (word, flags) in words {
        assert_eq!(bits::flags(word), flags, "{word:016x}");
        assert_eq!(bits::with_flags(0, flags), word, "{flags}");
        assert_eq!(bits::with_flags(u64::MAX, flags), word | !0x01ff_0000_0000_0000, "the other bits stay");
        assert_eq!(bits::flags(word | !0x01ff_0000_0000_0000), flags);
    }
}

#[test]
fn a_damaged_copy_of_the_table_is_read_past_and_repaired_on_write() {
    let factory = Factory::new(Banked::Two);
    let whole = factory.bytes();
    // The primary header, its entries, the backup header, its entries.
    for sector in [1, 2, -1, -33] {
        factory.damage(sector);
        assert_ne!(factory.bytes(), whole);
        let mut disk = factory.disk().unwrap();
        assert_eq!(disk.flags(Bank::A), Some(flags(1, 0, true)), "sector {sector}");
        assert!(!disk.is_agreed().unwrap(), "sector {sector}");
        disk.write().unwrap();
        assert!(disk.is_agreed().unwrap(), "sector {sector}");
        assert!(factory.bytes() == whole, "sector {sector} is as it was");
    }
    factory.damage(1);
    factory.damage(-1);
    let error = factory.disk().unwrap_err().to_string();
    assert_eq!(error, "Failed to find GPT on device /dev/nvme0n1: invalid signature");
}

#[test]
fn what_is_missing_is_missed_as_recorded() {
    let missing = |numbers: &[u32]| Factory::new(Banked::Two).without(numbers).disk().unwrap_err().to_string();
    // ROOT-B, HASH-B; PRIVATE; every BOOT.
    assert_eq!(missing(&[9]), "Failed to find guid partition for set B");
    assert_eq!(missing(&[10]), "Failed to find guid partition for set B");
    assert_eq!(missing(&[12]), "Failed to find guid partition for set A");
    assert_eq!(missing(&[3, 8]), "Failed to find guid partition for set A");
    let nowhere = Disk::open(Path::new("/nowhere"), NAME).unwrap_err().to_string();
    assert_eq!(nowhere, "Failed to open /dev/nvme0n1 for reading: No such file or directory (os error 2)");
}

#[test]
fn one_bank_is_enough() {
    for factory in [Factory::new(Banked::One), Factory::new(Banked::Two).without(&[8])] {
        let disk = factory.disk().unwrap();
        assert_eq!(disk.flags(Bank::A), Some(flags(1, 0, true)));
        assert_eq!((disk.set(Bank::B), disk.flags(Bank::B)), (None, None));
        assert_eq!(disk.look(Bank::B).unwrap(), None);
        assert!(disk.held(Bank::B).is_err() && disk.hold(Bank::B, &image("1.0.0")).is_err());
    }
}
