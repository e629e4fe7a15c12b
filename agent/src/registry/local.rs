//! The registry of a node by itself: its own endpoints are the catalog.

use tokio::sync::watch;

use super::{Registry, RegistryOutputs};
use crate::model::{Endpoints, Source, SourceState};

/// This node only. Owns nothing: the catalog is the very channel that the own endpoints come by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Registry for Local {
    fn start(self, own: watch::Receiver<Option<Endpoints>>) -> RegistryOutputs {
        let (sender, source) = watch::channel(Source::starting());
        let mut first = own.clone();
        let task = Box::pin(async move {
            if first.wait_for(Option::is_some).await.is_ok() {
                sender.send_modify(|source| {
                    source.enter(SourceState::Up);
                });
            }
            // Holds the source's channel open: it has no more to say, and is not gone.
            sender.closed().await;
        });
        RegistryOutputs { catalog: own, source, task }
    }
}

#[cfg(test)]
mod tests;
