//! What the containers behind one hosts file wish of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::label::{DNS, Dial, ENABLE, dialled, switch};
use crate::model::{Container, ContainerId};

/// The running containers that share a hosts file, each with its wish.
#[derive(Debug, Default)]
pub(super) struct Wishes(BTreeMap<ContainerId, Wish>);

#[derive(Debug)]
struct Wish {
    /// The label that keeps names out, if one does.
    without: Option<&'static str>,
    dialled: Vec<Dial>,
}

impl Wishes {
    /// A container shares the file, or its labels were read again. What cannot be read counts as not given; it is told
    /// where all faults of labels are.
    pub(super) fn add(&mut self, container: &Container) {
        let labels = &container.labels;
        let without = [ENABLE, DNS].into_iter().find(|label| switch(labels, label) == Ok(false));
        let dialled = dialled(labels).unwrap_or_default();
        self.0.insert(container.id.clone(), Wish { without, dialled });
    }

    /// It does not any more; whether any still does.
    pub(super) fn remove(&mut self, container: &ContainerId) -> bool {
        self.0.remove(container);
        !self.0.is_empty()
    }

    /// What all of them together dial; or why the file is to tell nothing, where one of them wishes so: they see one
    /// file, and who asks to be left alone is.
    pub(super) fn wanted(&self) -> Result<BTreeSet<Dial>, String> {
        match self.0.iter().find_map(|(id, wish)| Some((id, wish.without?))) {
            Some((id, label)) => Err(format!("label {label}=false of container {id}")),
            None => Ok(self.0.values().flat_map(|wish| wish.dialled.iter().cloned()).collect()),
        }
    }
}
