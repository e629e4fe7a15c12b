//! Typed client for the Bottlerocket host API on its Unix socket: what the host says of itself, and the few things that
//! can be asked of it.
//!
//! Owns the wire format: routes, query names, status codes, and models that survive an older or newer host (fields that
//! the models do not know are kept and written back). Never decides what to ask for, never retries, never logs: all
//! that is the caller's.
//!
//! ```no_run
//! # async fn example() -> Result<(), bottlerocket_settings::Error> {
//! use bottlerocket_settings::{Client, Settings, Updates};
//!
//! let host = Client::new("/run/api.sock")?;
//! let version = host.os().await?.version_id;
//!
//! // Stay on the version that runs. Nothing is changed, and no service restarted, where the lock is set already.
//! let updates = Updates { version_lock: version, ..Updates::default() };
//! let changed = host.change(&Settings { updates: Some(updates), ..Settings::default() }).await?;
//! println!("changed: {changed:?}");
//! # Ok(())
//! # }
//! ```
//!
//! "Source" in the documentation of an item names the file of bottlerocket-os/bottlerocket-core-kit (`core-kit`) or
//! bottlerocket-os/bottlerocket-settings-sdk (`settings-models`) that defines what the item stands for.

mod client;
mod error;
mod os;
mod settings;
mod transaction;
mod updates;
mod word;

pub use client::{Client, MAX_ANSWER};
pub use error::{Error, MAX_TEXT, Route};
pub use os::Os;
pub use settings::{
    Aws, Base64, Dns, Ecs, EcsLogLevel, HostContainer, ImagePullBehavior, Kernel, KernelModule, Lockdown, Metrics,
    Network, Rest, Settings, Updates,
};
pub use updates::{Command, CommandKind, CommandOutcome, Image, Partition, UpdateAction, UpdateState, UpdateStatus};
