//! One hosts file on disk: opened beneath Docker's root, looked at, written in place, read again. Blocks.
//!
//! Containers see it by its inode, so it is never replaced; and they read it at any moment, so it is never emptied.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::block::{Block, Edit, MAX_BYTES};

/// The most bytes of others that are read.
const MAX_OWN: u64 = 1 << 20;
/// How often is tried to write a file that somebody else changes just then.
const ATTEMPTS: usize = 4;
/// The directory of containers' files below Docker's root.
const CONTAINERS: &str = "containers";
/// The most containers whose files are looked at when all blocks are taken out.
const MAX_CONTAINERS: usize = 65_536;

/// Why a hosts file was not written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Docker's root.
    #[error("cannot open {}, where Docker keeps its files; check paths.docker_root", path.display())]
    Root {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The file. `ELOOP`: a link stands on its path.
    #[error("cannot open it without following links")]
    Open(#[source] Errno),
    /// A directory, a pipe, a device.
    #[error("it is no regular file")]
    NotRegular,
    /// It is some other file as well.
    #[error("it has {0} names on disk, so writing it might change another file")]
    Links(u64),
    /// Larger than any that Docker makes.
    #[error("it has {0} bytes; of more than {MAX_OWN} none is read")]
    TooLarge(u64),
    /// Reading or writing.
    #[error("cannot {action} it")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is being written all the time.
    #[error("somebody else writes it all the time")]
    Contended,
}

impl FileError {
    /// Whether all files suffer from it.
    pub(super) fn is_of_root(&self) -> bool {
        matches!(self, Self::Root { .. })
    }
}

/// What a file holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// How many mesh names.
    pub(super) names: usize,
    /// How many it does not, since its own lines define them.
    pub(super) own: usize,
    /// Whether it had to be written.
    pub(super) written: bool,
}

/// Makes the hosts file that Docker keeps for a container tell what a block says; without one, nothing of ours.
pub(super) fn rewrite(root: &Path, container: &str, block: Option<&Block>) -> Result<Held, FileError> {
    let file = open_beneath(root, container)?;
    for _ in 0..ATTEMPTS {
        let text = read(&file)?;
        let edit = Edit::of(&text, block);
        let held = Held { names: edit.names, own: edit.own, written: true };
        if edit.is_done(&text) {
            return Ok(Held { written: false, ..held });
        }
        if write(&file, &text, &edit)? {
            return Ok(held);
        }
    }
    Err(FileError::Contended)
}

fn open_beneath(root: &Path, container: &str) -> Result<File, FileError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory =
        open(root, flags, Mode::empty()).map_err(|source| FileError::Root { path: root.to_owned(), source })?;
    // Not blocking: whatever stands there is only looked at once it is open.
    let how = OpenHow::new()
        .flags(OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = Path::new(CONTAINERS).join(container).join("hosts");
    let file = File::from(openat2(directory, &path, how).map_err(FileError::Open)?);
    let found = look(&file)?;
    if !found.is_file() {
        return Err(FileError::NotRegular);
    }
    if found.nlink() != 1 {
        return Err(FileError::Links(found.nlink()));
    }
    Ok(file)
}

fn io(action: &'static str) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io { action, source }
}

fn look(file: &File) -> Result<Metadata, FileError> {
    file.metadata().map_err(io("look at"))
}

fn read(file: &File) -> Result<Vec<u8>, FileError> {
    let size = look(file)?.len();
    // A whole block and its markers may stand beside others' bytes.
    let most = MAX_OWN + 2 * MAX_BYTES as u64;
    if size > most {
        return Err(FileError::TooLarge(size));
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or_default()];
    let mut read = 0;
    while let Some(rest) = text.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64).map_err(io("read"))? {
            0 => break,
            some => read += some,
        }
    }
    text.truncate(read);
    Ok(text)
}

/// Writes what is to stand there over what stands there. False: somebody else has written as well; look again.
fn write(file: &File, text: &[u8], edit: &Edit) -> Result<bool, FileError> {
    let old = text.len() as u64;
    if look(file)?.len() != old {
        return Ok(false);
    }
    // As long as before, so that the file is whole at any moment; only blank lines are cut off.
    let mut bytes = edit.bytes.clone();
    bytes.resize(bytes.len().max(text.len() - edit.at), b'\n');
    file.write_all_at(&bytes, edit.at as u64).map_err(io("write"))?;
    if look(file)?.len() > (edit.at + bytes.len()) as u64 {
        return Ok(false);
    }
    file.set_len((edit.at + edit.bytes.len()) as u64).map_err(io("shorten"))?;
    let now = read(file)?;
    Ok(now.get(..edit.at) == text.get(..edit.at) && edit.is_done(&now))
}

/// What became of taking our names out of all hosts files.
#[derive(Debug, Default)]
pub struct TakenOut {
    /// From how many.
    pub files: usize,
    /// The containers with whose it failed, and why.
    pub failed: Vec<(String, FileError)>,
}

/// Takes our names out of the hosts files of all containers below Docker's root, of those too that do not run.
///
/// # Errors
/// Docker's root cannot be read.
pub fn take_out(root: &Path) -> Result<TakenOut, FileError> {
    let directory = root.join(CONTAINERS);
    let unreadable = |error: io::Error| FileError::Root {
        path: directory.clone(),
        source: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    };
    let mut out = TakenOut::default();
    for entry in std::fs::read_dir(&directory).map_err(unreadable)?.take(MAX_CONTAINERS) {
        let Ok(container) = entry.map_err(unreadable)?.file_name().into_string() else { continue };
        match rewrite(root, &container, None) {
            Ok(held) => out.files += usize::from(held.written),
            // A container that never ran has none.
            Err(FileError::Open(Errno::ENOENT | Errno::ENOTDIR)) => {}
            Err(error) => out.failed.push((container, error)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
