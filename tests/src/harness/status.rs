//! As much of `status --json` as scenarios look at.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The agent's word on itself and its services.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Every source has given its first snapshot, and the kernel has been programmed.
    pub ready: bool,
    /// Where its knowledge comes from.
    pub sources: BTreeMap<String, Source>,
    /// Every service that can be dialled here.
    pub services: Vec<Service>,
    /// How the kernel's tables are.
    pub dataplane: Dataplane,
}

/// A source's state.
#[derive(Debug, Clone, Deserialize)]
pub struct Source {
    /// `starting`, `up`, `down` or `off`.
    pub state: String,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// Its discovery name.
    pub name: String,
    /// Its virtual address.
    pub vip: Option<String>,
    /// What is behind it.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// `address:port`.
    pub address: String,
    /// Its state.
    pub state: String,
}

/// How the kernel's tables are.
#[derive(Debug, Clone, Deserialize)]
pub struct Dataplane {
    /// They are as they should be.
    pub in_sync: bool,
    /// How long the last change took.
    pub last_apply_ms: Option<f64>,
    /// How often somebody else's change was undone.
    pub repairs: u64,
}

impl Status {
    /// A service by its discovery name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

impl Service {
    /// How many endpoints are healthy.
    #[must_use]
    pub fn healthy(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.state == "healthy").count()
    }
}
