//! What was made of each container, for `explain` and the label-fault metric.

use std::sync::Arc;

use imbl::OrdMap;

use super::ContainerId;

/// Every running container and what the mesh made of it, by id.
pub type ContainerViews = OrdMap<ContainerId, Arc<ContainerView>>;

/// What was made of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Its Docker name.
    pub name: Arc<str>,
    /// Its image reference.
    pub image: Arc<str>,
    /// How it is attached to the network, for people.
    pub network: String,
    /// The services it is an endpoint of, each with the label or rule that made it so.
    pub offers: Vec<String>,
    /// Labels and rules that could not be used.
    pub faults: Vec<LabelFault>,
    /// What it would take to make it an endpoint, where it is none.
    pub missing: Option<String>,
}

/// A label (or rule) that could not be used. Both texts may quote what a stranger wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFault {
    /// The label's name.
    pub label: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}
