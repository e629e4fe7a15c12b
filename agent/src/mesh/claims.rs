//! Claims of services to alias names, and whose is best. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::vip::{Remembered, service_id};
use crate::model::{AliasName, Endpoint, L4, ServiceId};

/// The most claims that are remembered over a restart.
pub(super) const MAX_CLAIMS: usize = 65_536;

/// A service's claim to an alias name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) rank: Rank,
    /// Sorted, each once.
    pub(super) ports: Box<[(L4, NonZeroU16)]>,
}

/// Who has a name that several services claim; the least has it. First those that have endpoints; then the service whose qualified name it is, then by
/// order of namespaces, then the one whose discovery name it is, then the one that has claimed it longest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Whether its service has no endpoint any more: it gives way to whoever has.
    pub(super) departed: bool,
    unqualified: bool,
    namespace: usize,
    borrowed: bool,
    /// Since when it has been claimed, in milliseconds since the Unix epoch.
    pub(super) since_ms: u64,
}

impl Rank {
    /// Whether others might have the name as well, and whoever claimed it first keeps it.
    pub(super) fn is_contestable(&self) -> bool {
        self.unqualified
    }
}

/// The names that a service claims by its endpoints' aliases, and its qualified name. `namespace`: the place of its
/// namespace among those that are dialled here.
///
/// Where there are no endpoints, and for the `departed` names that no endpoint claims any more, the claims are those of a
/// service that has departed.
pub(super) fn claims(
    id: &ServiceId,
    namespace: usize,
    endpoints: &[Arc<Endpoint>],
    departed: &BTreeSet<AliasName>,
) -> BTreeMap<AliasName, Claim> {
    let qualified = id.qualified().ok();
    let since_ms = endpoints.iter().map(|endpoint| endpoint.started_ms).min().unwrap_or(0);
    let mut ports: BTreeMap<AliasName, BTreeSet<(L4, NonZeroU16)>> =
        qualified.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for endpoint in endpoints {
        for alias in endpoint.aliases.iter() {
            ports.entry(alias.name.clone()).or_default().insert((endpoint.protocol.l4(), alias.port));
        }
    }
    // Whoever departed has no port that anybody could dial: another service may have it.
    let none_left: BTreeSet<&AliasName> =
        departed.iter().filter(|name| endpoints.is_empty() || !ports.contains_key(*name)).collect();
    for name in &none_left {
        ports.entry((*name).clone()).or_default();
    }
    let claim = |(name, ports): (AliasName, BTreeSet<_>)| {
        let rank = Rank {
            departed: endpoints.is_empty() || none_left.contains(&name),
            unqualified: qualified.as_ref() != Some(&name),
            namespace,
            borrowed: id.name.as_str() != name.as_str(),
            since_ms,
        };
        (name, Claim { rank, ports: ports.into_iter().collect() })
    };
    ports.into_iter().map(claim).collect()
}

/// Since when names were claimed, as remembered. What is no name, or no service's, is dropped.
pub(super) fn recalled(remembered: &Remembered) -> BTreeMap<(AliasName, ServiceId), u64> {
    let all = remembered.claims.iter().flat_map(|(name, services)| services.iter().map(move |claim| (name, claim)));
    let claim = |(name, (service, since_ms)): (&String, (&String, &u64))| {
        Some(((name.parse().ok()?, service_id(service)?), *since_ms))
    };
    all.take(MAX_CLAIMS).filter_map(claim).collect()
}
