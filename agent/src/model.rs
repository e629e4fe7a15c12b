//! Names, addresses, endpoints and services: plain data that every other module speaks in.
//!
//! Owns the parsing of everything a stranger may have written (names, ports, weights, checks), so that a value of
//! one of these types is always valid. Never does IO.

pub mod endpoint;
pub mod name;
pub mod net;
pub mod service;
pub mod source;

pub use endpoint::{Endpoint, EndpointId, EndpointKey, Endpoints, State};
pub use name::{Alias, AliasName, DiscoveryName, NameError, Namespace, ServiceId};
pub use net::{DNS_PORT, IfName, VipCidr};
pub use service::{AppProtocol, HealthCheck, L4, ServiceError, Weight};
pub use source::{Source, SourceState};
