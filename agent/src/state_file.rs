//! A file in the state directory that remembers something over restarts of the agent.
//!
//! [`StateFile`] reads it, within a bound, and replaces it whole, so that a crash leaves the old one or the new one;
//! [`Saver`] decides when, and does it beside the caller's task. What is in it, and what to do where it is damaged, is
//! its owner's business. Nothing depends on such a file but how well a young agent begins.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::model::error_chain;
use crate::until::until;

/// How long a change waits for more before it is written.
const DELAY: Duration = Duration::from_millis(500);
/// Before a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// So many times as long as a write took, the next one waits at least: a large file costs a twentieth of a core at most.
const REST: u32 = 20;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It is there and cannot be read.
    #[error("cannot read {}; check paths.state_dir", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written. The old one, if there is one, still stands.
    #[error("cannot write {}; check paths.state_dir", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One file. One owner.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    max_bytes: u64,
}

impl StateFile {
    /// A file of this name in a directory, which is made with the first write. Neither read nor written beyond its bound.
    #[must_use]
    pub fn new(dir: &Path, name: &str, max_bytes: u64) -> Self {
        Self { path: dir.join(name), max_bytes }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is too large to be ours.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StateFileError> {
        let error = |source| StateFileError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error(source)),
        };
        let mut bytes = Vec::new();
        file.take(self.max_bytes + 1).read_to_end(&mut bytes).map_err(error)?;
        if bytes.len() as u64 > self.max_bytes {
            return Err(error(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(bytes))
    }

    /// Replaces it by what `fill` writes. Blocks until the disk has it.
    ///
    /// # Errors
    /// Those of `fill` and of the disk; or there would be too much in it.
    pub fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StateFileError> {
        self.replace(fill).map_err(|source| StateFileError::Write { path: self.path.clone(), source })
    }

    fn replace(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let mut bounded = Bounded { file: BufWriter::new(File::create(&name)?), left: self.max_bytes };
        fill(&mut bounded)?;
        bounded.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&name, &self.path)
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    file: BufWriter<File>,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a state file soon after what it remembers has changed, and never two at a time.
#[derive(Debug)]
pub struct Saver {
    file: StateFile,
    due: Option<Instant>,
    /// Before this nothing is written.
    rests_until: Option<Instant>,
    /// Whether the last write failed: trouble that lasts is told once.
    failed: bool,
    writing: Option<JoinHandle<(Result<(), StateFileError>, Duration)>>,
}

impl Saver {
    /// Nothing is to be written yet.
    #[must_use]
    pub fn new(file: StateFile) -> Self {
        Self { file, due: None, rests_until: None, failed: false, writing: None }
    }

    /// Something to remember has changed.
    pub fn changed(&mut self) {
        if self.due.is_none() {
            let soon = Instant::now() + DELAY;
            self.due = Some(self.rests_until.map_or(soon, |until| soon.max(until)));
        }
    }

    /// Waits until there is something to write: then [`Self::write`]. May be dropped and called anew.
    pub async fn due(&mut self) {
        self.written().await;
        until(self.due).await;
    }

    /// Begins to write.
    pub fn write(&mut self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) {
        self.due = None;
        let file = self.file.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let result = file.write(fill);
            (result, begun.elapsed())
        }));
    }

    /// Writes what has not been written yet, and waits for it.
    pub async fn finish(mut self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) {
        self.written().await;
        if self.due.is_some() {
            self.write(fill);
            self.written().await;
        }
    }

    /// Waits for the write that is under way.
    async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        let (result, took) = writing.await.unwrap_or_else(|panic| {
            let source = io::Error::other(panic);
            (Err(StateFileError::Write { path: self.file.path.clone(), source }), Duration::ZERO)
        });
        self.writing = None;
        self.rests_until = Some(Instant::now() + took * REST);
        if let Err(error) = &result {
            if !self.failed {
                warn!(error = %error_chain(error), "cannot save what the next start of the agent goes by; trying again");
            }
            self.due = Some(Instant::now() + AGAIN);
        }
        self.failed = result.is_err();
    }
}

#[cfg(test)]
mod tests;
