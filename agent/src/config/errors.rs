//! What is wrong with a configuration: every fault of a file, each at its line and column, up to a thousand.
//!
//! The reader hands in faults by byte offset, in any order; [`Errors`] is what the operator sees. Never empty.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::MAX_BYTES;

/// The most faults of one file that are told. A file of the largest size could have half a million.
const MAX_TOLD: usize = 1000;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong; what would be right. One line.
    pub message: String,
}

/// Every fault of one file, in the order of the file. Its `Display` is one `PATH:LINE:COLUMN: MESSAGE` a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    path: PathBuf,
    list: Vec<Error>,
}

impl Errors {
    /// A fault of the file as a whole.
    pub(super) fn of_file(path: &Path, message: String) -> Self {
        Self { path: path.to_owned(), list: vec![Error { line: 1, column: 1, message }] }
    }

    /// The file is too large to be one of ours.
    pub(super) fn too_large(path: &Path) -> Self {
        Self::of_file(path, format!("is larger than {MAX_BYTES} bytes; a configuration is at most that"))
    }

    /// The faults, in the order of the file. Never empty.
    #[must_use]
    pub fn list(&self) -> &[Error] {
        &self.list
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (index, Error { line, column, message }) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{path}:{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// What sort of fault, as far as it decides whether to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// Not TOML.
    Syntax,
    /// TOML, but not a meshdog configuration.
    Wrong,
    /// Something required is not there.
    Missing,
}

/// The faults found so far, by byte offset.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(usize, FaultKind, String)>);

impl Faults {
    /// The text at this offset is not TOML.
    pub(super) fn syntax(&mut self, at: usize, message: String) {
        self.0.push((at, FaultKind::Syntax, message));
    }

    /// What stands at this offset is wrong.
    pub(super) fn wrong(&mut self, at: usize, message: String) {
        self.0.push((at, FaultKind::Wrong, message));
    }

    /// Something is missing from the table at this offset.
    pub(super) fn missing(&mut self, at: usize, message: String) {
        self.0.push((at, FaultKind::Missing, message));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults of a text with their positions.
    ///
    /// Where the text is not TOML, only what is surely wrong remains: of each line's syntax errors the first, and
    /// nothing that may be but an echo of one (a value on the same line, a key that could not be read).
    pub(super) fn into_errors(mut self, path: &Path, text: &str) -> Errors {
        self.0.sort_by_key(|&(at, ..)| at);
        let found: Vec<(FaultKind, Error)> = Positions::new(text).locate(self.0).collect();
        let broken: HashSet<usize> =
            found.iter().filter(|(kind, _)| *kind == FaultKind::Syntax).map(|(_, error)| error.line).collect();
        let mut told = HashSet::new();
        let believed = found.into_iter().filter(|(kind, error)| match kind {
            FaultKind::Syntax => told.insert(error.line),
            FaultKind::Wrong => !broken.contains(&error.line),
            FaultKind::Missing => broken.is_empty(),
        });
        let mut believed = believed.map(|(_, error)| error);
        let mut list: Vec<Error> = believed.by_ref().take(MAX_TOLD).collect();
        if let Some(first) = believed.next() {
            let message = format!("{} more faults from here on; mend those above first", 1 + believed.count());
            list.push(Error { message, ..first });
        }
        Errors { path: path.to_owned(), list }
    }
}

/// Walks a text once, turning ascending byte offsets into lines and columns.
struct Positions<'t> {
    chars: std::iter::Peekable<std::str::CharIndices<'t>>,
    line: usize,
    column: usize,
}

impl<'t> Positions<'t> {
    fn new(text: &'t str) -> Self {
        Self { chars: text.char_indices().peekable(), line: 1, column: 1 }
    }

    fn locate(mut self, faults: Vec<(usize, FaultKind, String)>) -> impl Iterator<Item = (FaultKind, Error)> {
        faults.into_iter().map(move |(at, kind, message)| {
            while let Some((_, c)) = self.chars.next_if(|&(index, c)| index + c.len_utf8() <= at) {
                (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
            }
            (kind, Error { line: self.line, column: self.column, message })
        })
    }
}
