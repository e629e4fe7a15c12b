//! What the update must not forget over a reboot or a power cut: one value on disk.
//!
//! Owns two slot files in the state directory, written in turn, so that the newest whole value is never the one that is
//! being overwritten. Each slot is one line of JSON that says what follows, then the value as JSON. Both are plain, for
//! other versions of meshdog (the host container may go back with the OS) and for people. Never decides what to keep,
//! never logs, and follows no link out of the directory. Its calls block until the disk has what they wrote.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const SLOTS: [&str; 2] = ["update-journal.0", "update-journal.1"];
/// Of the header. Another format is one that this version cannot read; new fields need no other format.
const FORMAT: u32 = 1;
/// The longest header, in bytes.
const MAX_HEADER: usize = 4096;
/// The largest value, in bytes of JSON.
pub const MAX_BODY: usize = 1 << 20;

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory is not there and cannot be made.
    #[error("cannot create {}; check paths.state_dir", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A slot is there, and it cannot be told what it holds.
    #[error("cannot read the update journal {}; make it readable, or remove it to forget what it holds", slot.display())]
    Read {
        /// The slot's file.
        slot: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The value is not one that JSON can carry both ways. The journal is as it was.
    #[error("cannot put the update journal into JSON")]
    Encode(#[source] serde_json::Error),
    /// The value is too large. The journal is as it was.
    #[error("the update journal would have {length} bytes; it takes at most {MAX_BODY}")]
    TooLarge {
        /// The size of the value, in bytes.
        length: usize,
    },
    /// The disk did not take the value. What was saved before still holds.
    #[error("cannot write the update journal {}; make room on its disk, or make it writable", slot.display())]
    Write {
        /// The slot's file.
        slot: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was on disk.
#[derive(Debug)]
pub struct Loaded {
    /// The value that was saved last; `None` where none ever was, or all is [lost](Self::is_lost). Fields that this
    /// version does not know are in it; whoever saves keeps them.
    pub body: Option<Value>,
    /// Slots that hold nothing whole. One beside a `body`: the save that was writing it never happened.
    pub damaged: Vec<PathBuf>,
}

impl Loaded {
    /// Whether there was a value, and it is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.damaged.len() == SLOTS.len()
    }
}

/// One value on disk. One owner per directory.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// The slot that holds the newest value, and its sequence number.
    newest: Option<(usize, u64)>,
}

impl Journal {
    /// Opens the journal in a directory, named by its absolute path, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made, or a slot cannot be read though it may hold the newest value.
    pub fn open(dir: &Path) -> Result<(Self, Loaded), JournalError> {
        create(dir).map_err(|source| JournalError::Directory { dir: dir.to_owned(), source })?;
        let mut newest: Option<(usize, Entry)> = None;
        let mut damaged = Vec::new();
        for (index, name) in SLOTS.iter().enumerate() {
            let slot = dir.join(name);
            let bytes = match read(&slot) {
                Ok(bytes) => bytes,
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(source) if is_damage(&source) => Vec::new(),
                Err(source) => return Err(JournalError::Read { slot, source }),
            };
            match Entry::decode(&bytes) {
                None => damaged.push(slot),
                Some(entry) if newest.as_ref().is_none_or(|(_, other)| other.sequence < entry.sequence) => {
                    newest = Some((index, entry));
                }
                Some(_) => {}
            }
        }
        let at = newest.as_ref().map(|(index, entry)| (*index, entry.sequence));
        let journal = Self { dir: dir.to_owned(), newest: at };
        Ok((journal, Loaded { body: newest.map(|(_, entry)| entry.body), damaged }))
    }

    /// Saves a value in place of the one before. It is on disk, and was read back, when this returns.
    ///
    /// # Errors
    /// The value is not on disk, the one before still is; the next save may do better.
    pub fn save<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JournalError> {
        let body = serde_json::to_vec(value).map_err(JournalError::Encode)?;
        if body.len() > MAX_BODY {
            return Err(JournalError::TooLarge { length: body.len() });
        }
        // JSON can be nested more deeply than is read.
        let _: Value = serde_json::from_slice(&body).map_err(JournalError::Encode)?;
        let (index, sequence) = self.newest.map_or((0, 1), |(index, sequence)| (1 - index, sequence + 1));
        let bytes = encode(sequence, &body).map_err(JournalError::Encode)?;
        let slot = self.dir.join(SLOTS[index]);
        if let Err(source) = write(&slot, &bytes).and_then(|()| verify(&slot, &bytes)) {
            // It may be whole all the same; a save that failed must not come true with the next start.
            wipe(&slot);
            return Err(JournalError::Write { slot, source });
        }
        self.newest = Some((index, sequence));
        Ok(())
    }
}

/// The first line of a slot. Fields that it does not know are none of its business.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    /// The higher one is newer.
    sequence: u64,
    /// Of the body, in bytes.
    length: usize,
    /// See [`checksum`].
    checksum: u32,
}

/// What a whole slot holds.
struct Entry {
    sequence: u64,
    body: Value,
}

impl Entry {
    /// Reads a slot; `None` unless it is whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().take(MAX_HEADER).position(|byte| *byte == b'\n')?;
        let (header, body) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let Header { format, sequence, length, checksum: sum } = serde_json::from_slice(header).ok()?;
        // There must be a number after it.
        let numbered = format == FORMAT && sequence < u64::MAX;
        let whole = numbered && body.len() == length && length <= MAX_BODY && checksum(sequence, body) == sum;
        whole.then(|| serde_json::from_slice(body).ok()).flatten().map(|body| Self { sequence, body })
    }
}

fn encode(sequence: u64, body: &[u8]) -> serde_json::Result<Vec<u8>> {
    let checksum = checksum(sequence, body);
    let mut bytes = serde_json::to_vec(&Header { format: FORMAT, sequence, length: body.len(), checksum })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// CRC-32 of the sequence number, big-endian, and the body: neither counts without the other.
fn checksum(sequence: u64, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&sequence.to_be_bytes());
    sum.update(body);
    sum.finalize()
}

/// Makes the directory, and makes sure that it stays: only what is new is synced, its parents may be on a file system
/// that cannot.
fn create(dir: &Path) -> io::Result<()> {
    let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
    if new.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    new.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A file that is a slot, or why there is none. Nothing else in its place is followed or waited for.
fn open(slot: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(slot)?;
    if is_slot(&file.metadata()?) { Ok(file) } else { Err(Errno::ELOOP.into()) }
}

/// A file that no other name leads to.
fn is_slot(meta: &fs::Metadata) -> bool {
    meta.is_file() && meta.nlink() == 1
}

/// Whether a slot could not be read because it holds nothing that ever will be: the disk cannot read it, or there is
/// something else in its place. Any other error may pass, and then an older value would have been believed.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::ELOOP | Errno::ENXIO))
}

fn read(slot: &Path) -> io::Result<Vec<u8>> {
    let limit = (MAX_HEADER + MAX_BODY) as u64;
    let mut bytes = Vec::new();
    open(slot, OpenOptions::new().read(true))?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a slot in place: on a full disk the room that it had is still its own.
fn write(slot: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::symlink_metadata(slot) {
        Ok(meta) if !is_slot(&meta) => fs::remove_file(slot)?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open(slot, OpenOptions::new().write(true).create(true).mode(0o600))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    // Where the kernel heeds this, what is read back comes from the disk.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    slot.parent().map_or(Ok(()), sync_directory)
}

fn verify(slot: &Path, bytes: &[u8]) -> io::Result<()> {
    if read(slot)? == bytes {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "what was written reads back otherwise"))
    }
}

/// Empties a slot, as far as that can be done.
fn wipe(slot: &Path) {
    if let Ok(file) = open(slot, OpenOptions::new().write(true)) {
        let _ = file.set_len(0).and_then(|()| file.sync_all());
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
