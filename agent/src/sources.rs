//! What runs on this node and what the host says of itself: snapshots, then deltas.
//!
//! `sources::docker` owns the connection to dockerd and publishes [`Containers`](crate::model::Containers);
//! `sources::ecs` owns the ECS agent's introspection API; `sources::host` owns the host's API and publishes
//! [`Node`](crate::model::Node); `sources::resolv_conf` publishes the host's name servers; `sources::offers` (pure) turns
//! a container and the settings into the endpoints it offers; `sources::boot` says which boot this is, and
//! `sources::networks` who else holds addresses, each once and when asked. Never decides about health, never touches the kernel's
//! tables.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::model::publish::change;
use crate::model::{Source, SourceState};

pub mod boot;
pub mod docker;
pub mod ecs;
pub mod host;
pub mod networks;
pub mod offers;
pub mod resolv_conf;

/// How long a container may take over its stop before meshdog no longer believes in it. Longer than anybody waits who
/// means it: how long that is stands in the stopper's call, which nobody else sees.
pub const STOP_BELIEVED: Duration = Duration::from_secs(600);

/// Publishes the state that a source enters from the one it is in, under the name that it has in status. Says so in the
/// log where the kind of state changes.
fn enter(source: &watch::Sender<Source>, name: &'static str, next: impl FnOnce(&SourceState) -> SourceState) {
    change(source, |source| {
        let state = next(&source.state);
        if source.enter(state) {
            match &source.state {
                SourceState::Down(reason) => {
                    warn!(source = name, %reason, "source is down; what it said last stands until it answers")
                }
                state => info!(source = name, state = state.as_str(), "source state changed"),
            }
        }
    });
}
