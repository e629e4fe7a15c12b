//! What the nodes of a fleet share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use semver::Version;

use crate::update::fleet::{Board, Ruling};

/// A node that is not played.
pub(super) const OTHER: &str = "node-z";

#[derive(Debug, Default)]
pub(in super::super) struct Fleet {
    /// Whose turn it is.
    pub(in super::super) holders: BTreeSet<&'static str>,
    max_at_once: usize,
    pub(super) board: Board,
    /// Every word about a version that was taken, in order; whether it refuses.
    pub(super) words: Vec<(Version, bool)>,
}

pub(in super::super) type Shared = Arc<Mutex<Fleet>>;

impl Fleet {
    pub(in super::super) fn shared(max_at_once: usize) -> Shared {
        Arc::new(Mutex::new(Self { max_at_once, ..Self::default() }))
    }

    pub(super) fn acquire(&mut self, node: &'static str) -> bool {
        let granted = self.holders.contains(node) || self.holders.len() < self.max_at_once;
        if granted {
            self.holders.insert(node);
        }
        granted
    }

    /// A node that is not played refuses a version.
    pub(in super::super) fn refuse(&mut self, version: Version) {
        let at = "2026-10-31T00:00:00Z".parse().unwrap();
        self.rule(version, Ruling { refused: true, at, by: OTHER.into(), why: "it was bad".into() });
    }

    /// Whether the last word about a version refuses it.
    pub(in super::super) fn last_word(&self, version: &Version) -> Option<bool> {
        self.board.rulings.get(version).map(|ruling| ruling.refused)
    }

    /// Takes a word, unless one that is at least as new is there.
    pub(super) fn rule(&mut self, version: Version, ruling: Ruling) {
        if self.board.rulings.get(&version).is_none_or(|known| known.at < ruling.at) {
            self.words.push((version.clone(), ruling.refused));
            self.board.rulings.insert(version, ruling);
        }
    }
}
