//! What people and Prometheus see: logs, metrics, status, explanations, over the admin socket.
//!
//! Owns the log subscriber, the metric registry, the admin socket and the metrics port. Receives snapshots
//! ([`inputs::TelemetryInputs`]); the answers to status and explain are pure functions of one ([`inputs::Snapshot`]).
//! Emits nothing that another module acts on, but for what people order of the node's update.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub mod admin;
pub mod explain;
pub mod inputs;
pub mod logs;
pub mod metrics;
pub mod status;

/// Serves the admin socket, and the metrics port where there is one, and prunes the metrics of vanished services;
/// returns when told to stop. The admin socket is gone from the file system by then.
pub async fn run(admin: admin::Admin, metrics: Option<SocketAddr>, api: Arc<admin::Api>, stop: CancellationToken) {
    let port = async {
        if let Some(address) = metrics {
            admin::serve_metrics(address, Arc::clone(&api), stop.clone()).await;
        }
    };
    let prune =
        stop.run_until_cancelled(metrics::counters::prune(api.inputs().desired.clone(), api.counters().clone()));
    tokio::join!(admin.serve(Arc::clone(&api), stop.clone()), port, prune);
}
