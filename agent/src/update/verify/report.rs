//! What was found: the baseline before an update, and the report of each look after it. Plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::untrusted;

/// How long one check may take.
pub(super) const EACH: Duration = Duration::from_secs(5);
/// The most characters of what one check found.
pub(super) const MAX_FOUND: usize = 1000;
/// How many services one check names.
const NAMED: usize = 8;

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
        self.failing().next().is_none()
    }

    /// What is held against the update.
    pub fn failing(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.ok)
    }
}

/// What one check found. Displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, such as `docker` or `service prod/orders`.
    pub name: Arc<str>,
    /// Whether it counts as well.
    pub ok: bool,
    /// What was found, for people.
    pub found: Arc<str>,
}

/// What is well, or what is not, for people.
pub(super) type Finding = Result<String, String>;

impl Check {
    pub(super) fn new(name: impl Into<Arc<str>>, finding: Finding) -> Self {
        let (ok, found) = match finding {
            Ok(found) => (true, found),
            Err(found) => (false, found),
        };
        // Some of it is what strangers said.
        Self { name: name.into(), ok, found: untrusted::one_line(&found, MAX_FOUND).into() }
    }

    /// Not held against the update where it failed before as well.
    pub(super) fn excused_by(self, baseline: &Baseline) -> Self {
        if self.ok || !baseline.failed.iter().any(|failed| **failed == *self.name) {
            return self;
        }
        let found = format!("fails as it did before the update: {}", self.found).into();
        Self { ok: true, found, ..self }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.name, if self.ok { "ok" } else { "failed" }, self.found)
    }
}

/// The first of these, and how many more there are.
pub(super) fn first_of(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    text
}
