//! What a bank holds: instead of a kernel, which image it would be.
//!
//! In the first sector of BOOT, a mark, the length and the CRC-32 of the JSON in the sectors that follow. An image whose
//! writing was cut off does not have the checksum that was written first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bottlerocket_settings::Image;

use super::layout::SECTOR;

const MARK: [u8; 8] = *b"bankimg\n";
/// The most bytes of JSON.
const MAX: usize = 4096;

/// What is found in a bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Nothing was ever written there.
    Nothing,
    /// The writing was cut off: it cannot be booted.
    Torn,
    /// An image.
    Image(Image),
}

impl Held {
    /// The image, if it is whole.
    #[must_use]
    pub fn image(self) -> Option<Image> {
        match self {
            Self::Image(image) => Some(image),
            Self::Nothing | Self::Torn => None,
        }
    }
}

/// Reads what the partition that begins at this byte holds.
///
/// # Errors
/// It cannot be read.
pub fn read(disk: &File, offset: u64) -> io::Result<Held> {
    let mut header = [0; 16];
    disk.read_exact_at(&mut header, offset)?;
    let [mark @ .., l0, l1, l2, l3, c0, c1, c2, c3] = header;
    if mark != MARK {
        return Ok(Held::Nothing);
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let mut json = vec![0; length.min(MAX)];
    disk.read_exact_at(&mut json, offset + SECTOR)?;
    let whole = length <= MAX && crc32fast::hash(&json) == u32::from_le_bytes([c0, c1, c2, c3]);
    let image = whole.then(|| serde_json::from_slice(&json).ok()).flatten();
    Ok(image.map_or(Held::Torn, Held::Image))
}

/// Writes an image to the partition that begins at this byte; it is on the disk when this returns.
///
/// # Errors
/// It cannot be written, or its words are too long.
pub fn write(disk: &File, offset: u64, image: &Image) -> io::Result<()> {
    let json = serde_json::to_vec(image)?;
    announce(disk, offset, &json)?;
    disk.write_all_at(&json, offset + SECTOR)?;
    disk.sync_all()
}

/// The first half: what will have been written.
fn announce(disk: &File, offset: u64, json: &[u8]) -> io::Result<()> {
    if json.len() > MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let header = [&MARK[..], &length.to_le_bytes(), &crc32fast::hash(json).to_le_bytes()].concat();
    disk.write_all_at(&header, offset)?;
    disk.sync_all()
}

#[cfg(test)]
mod tests;
