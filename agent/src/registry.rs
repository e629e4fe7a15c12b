//! Where endpoints meet: this node's go in, the catalog of all that can be dialled from here comes out.
//!
//! A registry owns its connection and its lease. When it is away, the last catalog stands and its source says why; when
//! it comes back, it publishes this node's endpoints again by itself. It never judges an endpoint's health.

pub mod local;

use std::pin::Pin;

use tokio::sync::watch;

use crate::model::{Endpoints, Source};

/// A place where nodes find each other's endpoints.
pub trait Registry {
    /// Publishes what `own` holds, now and whenever it changes, and follows the catalog. `own` being `None` means that
    /// this node's endpoints are not known yet: nothing is published and nothing withdrawn.
    fn start(self, own: watch::Receiver<Option<Endpoints>>) -> RegistryOutputs;
}

/// What a registry gives once it is started.
pub struct RegistryOutputs {
    /// The catalog, this node's own endpoints included; `None` until the first whole one.
    pub catalog: watch::Receiver<Option<Endpoints>>,
    /// How the registry is doing.
    pub source: watch::Receiver<Source>,
    /// The work, to be run until shutdown; dropping it leaves the registry to its lease.
    pub task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for RegistryOutputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryOutputs").field("source", &*self.source.borrow()).finish_non_exhaustive()
    }
}
