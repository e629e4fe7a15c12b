//! What a container offers to the mesh, and what is wrong with its labels.

use std::sync::Arc;

use imbl::OrdMap;

use super::container::ContainerId;
use super::endpoint::Endpoint;
use super::service::HealthCheck;

/// What each container offers, by its id: the reasons behind [`Endpoints`](super::Endpoints).
pub type Offered = OrdMap<ContainerId, Arc<Offers>>;

/// What a container offers, and what it fails to offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Its endpoints: those of labels by discovery name, then those of rules in the file's order.
    pub endpoints: Vec<Offer>,
    /// What is wrong with its labels; a bounded number of them.
    pub faults: Vec<LabelFault>,
    /// How many more faults there are.
    pub more_faults: usize,
    /// Why it offers nothing, where it offers nothing.
    pub why_not: Option<Arc<str>>,
}

/// One endpoint as it is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The endpoint, at the beginning of its life.
    pub endpoint: Arc<Endpoint>,
    /// How its health is asked; absent: by the container's own Docker health check, if it has one.
    pub health: Option<HealthCheck>,
    /// What made it an endpoint.
    pub origin: OfferOrigin,
}

/// What made a container an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferOrigin {
    /// Its labels `meshdog.<discovery name>.*`.
    Labels,
    /// A rule of the settings: its place among `[[service]]`, from zero.
    Rule(usize),
}

/// Something wrong with one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFault {
    /// The container that carries it.
    pub container: ContainerId,
    /// The label's key, or the rule's name.
    pub label: Arc<str>,
    /// What is wrong, and what would be right.
    pub problem: Arc<str>,
}
