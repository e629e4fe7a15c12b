//! Waiting for a moment that may never be.

use tokio::time::{Instant, sleep_until};

/// Waits until then; for ever where that is never. Safe to cancel.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
