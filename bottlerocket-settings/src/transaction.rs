//! Changing settings, each change under a transaction of its own.
//!
//! Transactions are named by whoever opens one and owned by nobody: anyone may commit or delete any of them, and an
//! empty name means all of them (core-kit `sources/api/datastore`). So names here are random, never empty, never
//! reused, and never outlive the call.

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::client::Client;
use crate::error::{Error, Route};
use crate::settings::{Settings, difference};

impl Client {
    /// Applies settings under these full names once more, as they are (`POST /tx/apply?keys=`): for those that hold
    /// and may never have been applied, see [`Self::change`]. Restarts what they affect.
    ///
    /// # Errors
    /// Any of [`Error`]; 400 for an empty list.
    pub async fn apply(&self, keys: &[&str]) -> Result<(), Error> {
        self.send(Route::post("/tx/apply"), Some(("keys", &keys.join(","))), None).await.map(drop)
    }

    /// Changes settings and lets the host restart what they affect. Returns the full names of what changed, in no
    /// order; none where the host had every value already.
    ///
    /// Only what differs from the live settings is sent: the host takes a value that it already has for a change, and
    /// restarts services for it. Values cannot be unset, only replaced. The host applies the change in the background
    /// and never says how that went. A call that is dropped half-way may leave a pending transaction behind, which does
    /// nothing until somebody commits it.
    ///
    /// # Errors
    /// Any of [`Error`]. Nothing stays pending as far as the host could still be reached; but a 500 may come after the
    /// commit itself, when the host could not start its applier, so read the settings again, and [apply](Self::apply) what holds.
    pub async fn change(&self, change: &Settings) -> Result<Vec<String>, Error> {
        let patch = Route { method: Method::PATCH, path: "/settings" };
        let shape = |source| Error::Shape { route: patch.clone(), source };
        let wanted = serde_json::to_value(change).map_err(shape)?;
        let live: Value = self.read(Route::get("/settings"), None).await?;
        let Some(left) = difference(wanted, Some(&live)) else { return Ok(Vec::new()) };
        let body = serde_json::to_vec(&left).map_err(shape)?;

        let name = format!("meshdog-{}", Uuid::new_v4());
        let tx = Some(("tx", name.as_str()));
        let changed = match self.send(patch.clone(), tx, Some(body)).await {
            Ok(_) => self.read(Route::post("/tx/commit_and_apply"), tx).await,
            Err(refused) => Err(refused),
        };
        match changed {
            Err(error) if error.is_nothing_pending() => Ok(Vec::new()),
            Err(error) => {
                // The first error is the one to tell; where even this fails, the host is gone.
                let _ = self.send(Route { method: Method::DELETE, path: "/tx" }, tx, None).await;
                Err(error)
            }
            changed => changed,
        }
    }
}
