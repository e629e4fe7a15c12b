//! The settings tree (`GET /settings`), as far as a node agent has a use for it. Plain data.
//!
//! Which sections exist depends on the host's variant and version; here all are optional, and the rest is kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod ecs;
mod host;
mod section;

pub use ecs::{Ecs, EcsLogLevel, ImagePullBehavior};
pub use host::{Aws, Dns, HostContainer, Kernel, KernelModule, Lockdown, Metrics, Network, Updates};
pub use section::Rest;
pub(crate) use section::section;

section! {
    /// The whole tree, without a `settings` wrapper: both what the host answers and what it takes as a change.
    ///
    /// Source: core-kit `sources/settings-plugins/aws-ecs-2/src/lib.rs` and its siblings for other variants.
    Settings {
        /// `motd`: the message of the day.
        motd: String = "motd",
        /// `aws`
        aws: Aws = "aws",
        /// `ecs`
        ecs: Ecs = "ecs",
        /// `network`
        network: Network = "network",
        /// `dns`
        dns: Dns = "dns",
        /// `updates`
        updates: Updates = "updates",
        /// `host-containers`, by name.
        host_containers: BTreeMap<String, HostContainer> = "host-containers",
        /// `kernel`
        kernel: Kernel = "kernel",
        /// `metrics`
        metrics: Metrics = "metrics",
    }
}

/// Base64 text (standard alphabet, padded), as the host stores it: user data and credentials. Its `Debug` hides the
/// content.
///
/// Source: settings-models `modeled-types`, `ValidBase64`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64(pub String);

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} characters)", self.0.len())
    }
}

/// What of `wanted` the host does not have yet: objects are compared field by field, anything else as a whole. `None`
/// where nothing is left. A null wants nothing, as the host sees it.
pub(crate) fn difference(wanted: Value, live: Option<&Value>) -> Option<Value> {
    match wanted {
        Value::Null => None,
        Value::Object(fields) => {
            let left: Map<String, Value> = fields
                .into_iter()
                .filter_map(|(key, value)| difference(value, live.and_then(|v| v.get(&key))).map(|value| (key, value)))
                .collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        value => (live != Some(&value)).then_some(value),
    }
}

#[cfg(test)]
mod tests;
