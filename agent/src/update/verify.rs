//! Whether the node's workloads do as well as before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What was well before the update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Healthy endpoints of this node, by service (`namespace/name`).
    #[serde(default)]
    pub healthy: BTreeMap<String, usize>,
    /// Checks that failed before the update as well; they are not held against it.
    #[serde(default)]
    pub failed: Vec<String>,
}

/// One look at every check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Each check, in a fixed order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether nothing is held against the update.
    #[must_use]
    pub fn good(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, such as `docker` or `service prod/orders`.
    pub name: Arc<str>,
    /// Whether it counts as well.
    pub ok: bool,
    /// What was found, for people.
    pub found: Arc<str>,
}
