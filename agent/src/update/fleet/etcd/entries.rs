//! The board's entries: from keys and values that anybody may have written to the fleet's words. Pure.

use jiff::{SignedDuration, Timestamp};
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clients::etcd::Entry;
use crate::model::untrusted::excerpt;
use crate::update::fleet::board::Board;
use crate::update::fleet::ruling::{Outcome, Ruling};

/// The longest value that is read, in bytes. Ours have a few hundred.
const MAX_VALUE: usize = 4096;
/// The longest version or node name, in bytes; that of a DNS name.
const MAX_NAME: usize = 253;
/// How far ahead of ours another node's clock may be. A word from later would win over all to come.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// That a person said resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reset {
    pub(super) at: Timestamp,
}

/// A word that gives way to a newer one.
pub(super) trait Word: Serialize + DeserializeOwned {
    fn at(&self) -> Timestamp;
}

impl Word for Ruling {
    fn at(&self) -> Timestamp {
        self.at
    }
}

impl Word for Outcome {
    fn at(&self) -> Timestamp {
        self.at
    }
}

impl Word for Reset {
    fn at(&self) -> Timestamp {
        self.at
    }
}

/// Whether a word goes over what is stored.
pub(super) fn is_news<T: Word>(stored: Option<&[u8]>, word: &T, now: Timestamp) -> bool {
    stored.and_then(|value| read::<T>(value, now)).is_none_or(|stored| stored.at() < word.at())
}

/// A stored word, if that is what it is.
fn read<T: Word>(value: &[u8], now: Timestamp) -> Option<T> {
    if value.len() > MAX_VALUE {
        return None;
    }
    let word: T = serde_json::from_slice(value).ok()?;
    (word.at().duration_since(now) <= AHEAD).then_some(word)
}

/// A value and what it is about: the rest of its key, `None` if nothing is called so.
type Named = (Option<String>, Vec<u8>);

/// Entries by the rest of their keys.
pub(super) fn named(prefix: &str, entries: Vec<Entry>) -> Vec<Named> {
    let name = |key: Vec<u8>| {
        let name = String::from_utf8(key).ok()?.strip_prefix(prefix)?.to_owned();
        let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(name)
    };
    entries.into_iter().map(|entry| (name(entry.key), entry.value)).collect()
}

/// What etcd holds of a board.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// By version.
    pub(super) rulings: Vec<Named>,
    /// By node.
    pub(super) outcomes: Vec<Named>,
    /// One at most.
    pub(super) reset: Vec<Named>,
}

impl Stored {
    /// The board, and how many entries were skipped.
    pub(super) fn board(self, now: Timestamp) -> (Board, usize) {
        let stored = self.rulings.len() + self.outcomes.len() + self.reset.len();
        let ruling = |(version, value): Named| {
            let ruling: Ruling = read(&value, now)?;
            let ruling = Ruling { by: excerpt(&ruling.by), why: excerpt(&ruling.why), ..ruling };
            Some((Version::parse(&version?).ok()?, ruling))
        };
        let outcome = |(node, value): Named| Some((node?.into(), read::<Outcome>(&value, now)?));
        let board = Board {
            rulings: self.rulings.into_iter().filter_map(ruling).collect(),
            outcomes: self.outcomes.into_iter().filter_map(outcome).collect(),
            since: self.reset.iter().find_map(|(_, value)| read::<Reset>(value, now)).map(|reset| reset.at),
        };
        let read = board.rulings.len() + board.outcomes.len() + usize::from(board.since.is_some());
        (board, stored - read)
    }
}

#[cfg(test)]
mod tests;
