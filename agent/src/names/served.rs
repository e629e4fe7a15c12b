//! Which names are answered: those whose VIPs the kernel serves already.

use std::sync::Arc;

use tokio::sync::watch;

use crate::dataplane::DataplaneState;
use crate::model::publish::{if_given, publish};
use crate::model::{Desired, Names, View};

/// Publishes the names of each desired state once its ruleset is applied, so that nobody learns a VIP that would still
/// refuse. Runs until dropped, or until the mesh or the data plane is gone.
pub async fn follow(
    mut desired: watch::Receiver<Option<Arc<Desired>>>,
    mut dataplane: watch::Receiver<DataplaneState>,
    names: watch::Sender<Option<Names>>,
) {
    loop {
        let wanted = desired.borrow_and_update().clone();
        let applied = dataplane.borrow_and_update().applied(View::Node).cloned();
        if let (Some(wanted), Some(applied)) = (wanted, applied)
            && wanted.ruleset(View::Node).is_some_and(|ruleset| Arc::ptr_eq(ruleset, &applied))
        {
            publish(&names, Some(wanted.names.clone()), if_given(Names::ptr_eq));
        }
        let more = tokio::select! {
            more = desired.changed() => more,
            more = dataplane.changed() => more,
        };
        if more.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
