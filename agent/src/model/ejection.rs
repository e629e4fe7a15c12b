//! Endpoints that are avoided because connections to them failed.

use std::net::SocketAddr;
use std::sync::Arc;

use imbl::OrdMap;
use tokio::time::Instant;

use super::service::L4;

/// The transport and address of an endpoint, as connections see it.
pub type Target = (L4, SocketAddr);

/// An endpoint that is to be avoided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Until when.
    pub until: Instant,
    /// Why, for people.
    pub reason: Arc<str>,
}

/// Everyone who is to be avoided.
pub type Ejections = OrdMap<Target, Ejection>;
