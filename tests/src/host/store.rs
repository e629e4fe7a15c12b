//! The datastore: live settings and pending transactions, with the hazards of the real one. Pure.
//!
//! Source: core-kit `sources/api/datastore` and `sources/api/apiserver/src/server/controller.rs`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::key;

/// Longest transaction name: each is a directory on disk (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// Settings that hold, and settings that wait for a commit.
#[derive(Debug)]
pub struct Store {
    live: Map<String, Value>,
    pending: BTreeMap<String, Map<String, Value>>,
}

/// Why the store refuses, in the host's words.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400
    Bad(String),
    /// 404
    Missing(String),
    /// 422
    NothingPending,
    /// 500
    Broken(String),
}

impl Store {
    /// A store in which these settings hold; none at all before the first commit of a first boot.
    #[must_use]
    pub fn new(live: Map<String, Value>) -> Self {
        Self { live, pending: BTreeMap::new() }
    }

    /// All settings.
    ///
    /// # Errors
    /// Before the first commit.
    pub fn all(&self) -> Result<Value, Refusal> {
        if self.live.is_empty() {
            return Err(Refusal::Missing("Found no 'settings' in datastore".to_owned()));
        }
        Ok(Value::Object(self.live.clone()))
    }

    /// The settings under these comma-separated names.
    ///
    /// # Errors
    /// A malformed name, or one of a whole section.
    pub fn by_keys(&self, names: &str) -> Result<Value, Refusal> {
        if names.is_empty() {
            return Err(Refusal::Bad("Input 'keys' cannot be empty".to_owned()));
        }
        let mut found = Map::new();
        for name in names.split(',') {
            let segments = key::parse(name).map_err(Refusal::Bad)?;
            let Some(("settings", path)) = segments.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
                continue;
            };
            let directory = || {
                let text = format!("Data store error during get_key: Reading key '{name}' failed");
                Refusal::Broken(format!("{text}: Is a directory (os error 21)"))
            };
            let mut level = &self.live;
            let (Some(leaf), sections) = path.split_last().map_or((None, path), |(leaf, rest)| (Some(leaf), rest))
            else {
                return Err(directory());
            };
            let mut exists = true;
            for section in sections {
                match level.get(section).and_then(Value::as_object) {
                    Some(next) => level = next,
                    None => exists = false,
                }
            }
            match level.get(leaf) {
                Some(Value::Object(_)) if exists => return Err(directory()),
                Some(value) if exists => insert(&mut found, path, value.clone()),
                _ => {}
            }
        }
        Ok(Value::Object(found))
    }

    /// The settings whose full names begin so.
    ///
    /// # Errors
    /// An empty prefix.
    pub fn by_prefix(&self, prefix: &str) -> Result<Value, Refusal> {
        if prefix.is_empty() {
            return Err(Refusal::Bad("Input 'prefix' cannot be empty".to_owned()));
        }
        let prefix = if prefix.starts_with("settings") { prefix.to_owned() } else { format!("settings.{prefix}") };
        let mut found = Map::new();
        for (path, value) in leaves(&self.live) {
            if full_name(&path).starts_with(&prefix) {
                insert(&mut found, &path, value);
            }
        }
        Ok(Value::Object(found))
    }

    /// Adds settings to a transaction.
    ///
    /// # Errors
    /// A name too long for the disk.
    pub fn stage(&mut self, tx: &str, change: Map<String, Value>) -> Result<(), Refusal> {
        if tx.len() > MAX_NAME {
            let path = format!("/var/lib/bottlerocket/datastore/current/pending/{tx}/settings");
            let text = format!("Data store error during set_keys: IO error on '{path}'");
            return Err(Refusal::Broken(format!("{text}: File name too long (os error 36)")));
        }
        if !change.is_empty() {
            merge(self.pending.entry(tx.to_owned()).or_default(), change);
        }
        Ok(())
    }

    /// What is pending in a transaction.
    #[must_use]
    pub fn pending(&self, tx: &str) -> Value {
        Value::Object(self.pending.get(tx).cloned().unwrap_or_default())
    }

    /// The transactions. The one without a name shows under the name of its only directory.
    #[must_use]
    pub fn list(&self) -> Vec<&str> {
        self.pending.keys().map(|name| if name.is_empty() { "settings" } else { name }).collect()
    }

    /// Deletes a transaction; the names of what was pending in it. An empty name deletes all of them.
    pub fn delete(&mut self, tx: &str) -> Vec<String> {
        let deleted = self.pending.remove(tx).unwrap_or_default();
        if tx.is_empty() {
            self.pending.clear();
        }
        names(&deleted)
    }

    /// Makes what is pending hold; the names of it all, changed or not.
    ///
    /// # Errors
    /// Nothing pending.
    pub fn commit(&mut self, tx: &str) -> Result<Vec<String>, Refusal> {
        let change = self.pending.remove(tx).ok_or(Refusal::NothingPending)?;
        let names = names(&change);
        merge(&mut self.live, change);
        Ok(names)
    }
}

/// Merges one tree into another, table by table.
pub fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

fn insert(tree: &mut Map<String, Value>, path: &[String], value: Value) {
    let mut value = value;
    if let Some((first, rest)) = path.split_first() {
        for segment in rest.iter().rev() {
            value = Value::Object(Map::from_iter([(segment.clone(), value)]));
        }
        merge(tree, Map::from_iter([(first.clone(), value)]));
    }
}

fn leaves(tree: &Map<String, Value>) -> Vec<(Vec<String>, Value)> {
    let mut found = Vec::new();
    for (name, value) in tree {
        match value {
            Value::Object(table) => {
                let below = leaves(table).into_iter();
                found.extend(below.map(|(path, value)| (std::iter::once(name.clone()).chain(path).collect(), value)));
            }
            value => found.push((vec![name.clone()], value.clone())),
        }
    }
    found
}

fn names(tree: &Map<String, Value>) -> Vec<String> {
    leaves(tree).iter().map(|(path, _)| full_name(path)).collect()
}

fn full_name(path: &[String]) -> String {
    format!("settings.{}", key::join(path))
}

#[cfg(test)]
mod tests;
