//! Which names are answered: those whose VIPs the kernel serves already.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::watch;

use crate::dataplane::DataplaneState;
use crate::model::publish::{if_given, publish};
use crate::model::{Desired, Names, ServiceId, View};

/// What may be told. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// What names stand for.
    pub names: Names,
    /// Which service has each VIP.
    pub holders: OrdMap<IpAddr, ServiceId>,
}

impl Served {
    fn same(&self, other: &Self) -> bool {
        self.names.ptr_eq(&other.names) && self.holders.ptr_eq(&other.holders)
    }
}

/// Publishes the names of each desired state once its ruleset is applied, so that nobody learns a VIP that would still
/// refuse. Runs until dropped, or until the mesh or the data plane is gone.
pub async fn follow(
    mut desired: watch::Receiver<Option<Arc<Desired>>>,
    mut dataplane: watch::Receiver<DataplaneState>,
    served: watch::Sender<Option<Served>>,
) {
    loop {
        let wanted = desired.borrow_and_update().clone();
        let applied = dataplane.borrow_and_update().applied(View::Node).cloned();
        if let (Some(wanted), Some(applied)) = (wanted, applied)
            && wanted.ruleset(View::Node).is_some_and(|ruleset| Arc::ptr_eq(ruleset, &applied))
        {
            let told = Served { names: wanted.names.clone(), holders: wanted.holders.clone() };
            publish(&served, Some(told), if_given(Served::same));
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
