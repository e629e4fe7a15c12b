//! The nouns that more than one module speaks of: plain data, always valid.
//!
//! Owns the parsing of everything a stranger may have written (names, ports, weights, checks), so that a value of
//! one of these types is always valid, and what must hold of any stranger's text (`untrusted`). Never does IO.

pub mod address;
mod client_path;
mod container;
mod desired;
mod ejection;
pub mod endpoint;
mod error_chain;
mod flow;
pub mod label;
pub mod name;
mod nearest;
pub mod net;
mod node;
mod offer;
mod past;
pub mod publish;
mod ruleset;
pub mod service;
pub mod source;
pub mod untrusted;
pub mod vip;

pub use address::{DualStack, Family, SocketAddrs};
pub use client_path::{Clients, ClosedRoads, QueryPath};
pub use container::{
    BudgetUse, Container, ContainerId, Containers, DockerHealth, HOSTS_BEGIN, HOSTS_END, HostsFile, Network,
    PublishedPort,
};
pub use desired::{Conflict, Desired, DesiredEndpoint, DesiredService, Names};
pub use ejection::{Ejection, Ejections, Target};
pub use endpoint::{Endpoint, EndpointAddresses, EndpointId, EndpointKey, EndpointState, Endpoints, LocalNetwork};
pub use error_chain::error_chain;
pub use flow::{Counters, Flow, FlowEvent, FlowKind, TcpState};
pub use name::{Alias, AliasName, DiscoveryName, NameError, Namespace, ServiceId};
pub use nearest::nearest;
pub use net::{CapturedServers, DNS_PORT, IfName, MAX_CAPTURED, NameServers, RESOLVER_PORT, places};
pub use node::Node;
pub use offer::{LabelFault, Offer, OfferOrigin, Offered, Offers};
pub use past::{End, Past};
pub use publish::publish;
pub use ruleset::{Frontend, MAX_SLOTS, Ruleset, Rulesets, Slots, View};
pub use service::{AppProtocol, HealthCheck, L4, ServiceError, Weight};
pub use source::{Source, SourceState};
pub use vip::{Vantage, VipCidr, VipRanges};
