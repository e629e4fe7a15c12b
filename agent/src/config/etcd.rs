//! `[registry.etcd]`: the cluster that the fleet shares.

use url::Url;

/// `[registry.etcd]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Addresses of the cluster's members. Never empty.
    pub endpoints: Vec<Url>,
}
