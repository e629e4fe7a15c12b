//! Which block a container's hosts file is to tell. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::block::Block;
use crate::model::label::Dial;
use crate::model::{AliasName, DualStack, Names, Namespace, ServiceId};

/// The blocks of one snapshot of the names.
#[derive(Debug)]
pub(super) struct Blocks {
    namespace: Namespace,
    whole: Whole,
}

#[derive(Debug)]
enum Whole {
    /// Everybody is told all names.
    Fits(Arc<Block>),
    /// There are too many: each is told what it dials. The names, and once somebody dials any, those of each VIP.
    TooLarge { names: Names, of_vip: OnceLock<HashMap<DualStack, Vec<AliasName>>> },
}

impl Blocks {
    /// `namespace`: the node's own, which what is dialled without one is in.
    pub(super) fn new(names: Names, namespace: Namespace) -> Self {
        let whole = match Block::of(&names) {
            (block, true) => Whole::Fits(Arc::new(block)),
            (_, false) => Whole::TooLarge { names, of_vip: OnceLock::new() },
        };
        Self { namespace, whole }
    }

    /// The block for containers that dial these services; how many names there are, where they are too many for all to
    /// be told.
    pub(super) fn of(&self, dialled: &BTreeSet<Dial>) -> (Arc<Block>, Option<usize>) {
        match &self.whole {
            Whole::Fits(block) => (Arc::clone(block), None),
            Whole::TooLarge { names, of_vip } => {
                // A service answers to its qualified name, and all its names stand for the same VIP.
                let vips = dialled.iter().filter_map(|dial| {
                    let namespace = dial.namespace.as_ref().unwrap_or(&self.namespace).clone();
                    names.get(&ServiceId { namespace, name: dial.name.clone() }.qualified().ok()?)
                });
                let told = vips.flat_map(|vips| {
                    let names = of_vip.get_or_init(|| by_vip(names)).get(vips).into_iter().flatten();
                    names.map(|name| (name.clone(), *vips))
                });
                (Arc::new(Block::of(&told.collect()).0), Some(names.len()))
            }
        }
    }
}

fn by_vip(names: &Names) -> HashMap<DualStack, Vec<AliasName>> {
    let mut of_vip = HashMap::<DualStack, Vec<AliasName>>::new();
    for (name, vips) in names {
        of_vip.entry(*vips).or_default().push(name.clone());
    }
    of_vip
}

#[cfg(test)]
mod tests;
