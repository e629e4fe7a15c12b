//! Labels that are about a container as a whole, not about a service that it offers. Written by strangers.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::name::{DiscoveryName, NameError, Namespace};
use super::untrusted::cut;

/// Every label of ours begins so.
pub const PREFIX: &str = "meshdog.";
/// Keeps a container out of the mesh, or not.
pub const ENABLE: &str = "meshdog.enable";
/// Whether its names are the agent's matter.
pub const DNS: &str = "meshdog.dns";
/// What it dials, where the mesh is too large for everybody to be told all of it.
pub const DIAL: &str = "meshdog.dial";
/// All of them.
pub const OF_CONTAINERS: [&str; 3] = [ENABLE, DNS, DIAL];
/// The most services that one container may name in [`DIAL`].
pub const MAX_DIAL: usize = 64;

/// A service that a container dials: `[namespace/]name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial {
    /// Its namespace; `None`: the node's own.
    pub namespace: Option<Namespace>,
    /// Its discovery name.
    pub name: DiscoveryName,
}

impl FromStr for Dial {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self { namespace: Some(namespace.parse()?), name: name.parse()? },
            None => Self { namespace: None, name: text.parse()? },
        })
    }
}

/// What a label says that is either true or false; true where it is not given.
///
/// # Errors
/// It says something else; for people.
pub fn switch(labels: &BTreeMap<String, String>, label: &str) -> Result<bool, String> {
    match labels.get(label).map(String::as_str) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(format!("{:?} is neither true nor false; ignored", cut(other, 160))),
    }
}

/// The services that a container says it dials, each once, sorted.
///
/// # Errors
/// One of them is none, or they are too many: then none counts. For people.
pub fn dialled(labels: &BTreeMap<String, String>) -> Result<Vec<Dial>, String> {
    let Some(text) = labels.get(DIAL) else { return Ok(Vec::new()) };
    let pieces: Vec<&str> = text.splitn(MAX_DIAL + 1, ',').collect();
    if pieces.len() > MAX_DIAL {
        return Err(format!("names more than {MAX_DIAL} services; write fewer"));
    }
    let dialled: Result<Vec<Dial>, NameError> = pieces.into_iter().map(|piece| piece.trim().parse()).collect();
    let mut dialled = dialled.map_err(|error| error.to_string())?;
    dialled.sort();
    dialled.dedup();
    Ok(dialled)
}

#[cfg(test)]
mod tests;
