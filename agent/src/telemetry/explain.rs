//! "Why does this not work": from what somebody typed (a name, an address, a container) to the services and containers
//! it may mean, and what is the case with each. Pure; the same types are read back by the command line.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::ended::EndedExplained;
use super::inputs::Snapshot;
use super::status::{self, ConflictStatus, ServiceStatus};
use crate::model::{Conflict, Container, DesiredService, L4, Network, Offer, OfferOrigin, Offers, ServiceId};
use crate::names::dns::ResolverState;

pub mod ended;
mod way;

/// Longest question, in bytes: longer than any name, address or container id.
pub const MAX_QUERY: usize = 256;
/// Shortest part of a container's id that is taken for one.
const MIN_ID_PREFIX: usize = 4;
/// How many near names are offered for one that is not known.
const NEAREST: usize = 5;
/// How alike a name must be to be offered (Jaro-Winkler, 0 to 1).
const LIKENESS: f64 = 0.75;

/// Everything the question may mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The question as it was understood.
    pub query: String,
    /// The services it names.
    pub services: Vec<ServiceExplained>,
    /// The containers it names.
    pub containers: Vec<ContainerExplained>,
    /// Containers that ended here lately: whom it names, and who offered a service that it names and that has no endpoints;
    /// latest first.
    #[serde(default)]
    pub ended: Vec<EndedExplained>,
    /// What is known under similar names, when nothing is under this one; nearest first.
    pub nearest: Vec<String>,
}

impl Explanation {
    /// Whether anything goes by that name here.
    #[must_use]
    pub fn known(&self) -> bool {
        !self.services.is_empty() || !self.containers.is_empty() || !self.ended.is_empty()
    }
}

/// One service that was meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceExplained {
    /// How the question leads to it, and what is wrong with dialling it so.
    pub matched: String,
    /// The service, its VIP and its endpoints with their states and reasons.
    #[serde(flatten)]
    pub service: ServiceStatus,
    /// How many slots its connections are spread over; 0 refuses them.
    pub slots: usize,
    /// Aliases it won or lost.
    pub conflicts: Vec<ConflictStatus>,
    /// Whose containers of this node cannot reach which of its endpoints, and why.
    #[serde(default)]
    pub out_of_reach: Vec<String>,
}

/// One container that was meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerExplained {
    /// Its full id.
    pub id: Arc<str>,
    /// Its Docker name.
    pub name: Arc<str>,
    /// Its image reference.
    pub image: Arc<str>,
    /// How it is attached to the network.
    pub network: String,
    /// What its hosts file tells of the mesh, or why nothing.
    #[serde(default)]
    pub hosts_file: String,
    /// The services it offers, each with the label or rule that says so.
    pub offers: Vec<String>,
    /// Its endpoints in the services that can be dialled here.
    pub endpoints: Vec<EndpointExplained>,
    /// Labels and rules that could not be used.
    pub faults: Vec<FaultExplained>,
    /// Whether its DNS queries are answered here, and why not.
    #[serde(default)]
    pub dns: String,
    /// Services of this node that it cannot reach, and why.
    #[serde(default)]
    pub out_of_reach: Vec<String>,
    /// What it would take to make it an endpoint, where it is none.
    pub missing: Option<String>,
    /// How it last ended, where that was lately and it runs again.
    #[serde(default)]
    pub before: Option<String>,
}

/// One of a container's endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointExplained {
    /// `namespace/discovery-name`.
    pub service: String,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: status::EndpointStatus,
}

/// A label that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultExplained {
    /// The label.
    pub label: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What is the case with a name, `name:port`, a URL, `namespace/name`, `address`, `address:port`, or a container's name or
/// the first characters of its id.
#[must_use]
pub fn explain(now: &Snapshot, query: &str) -> Explanation {
    let text = query.trim();
    let asked = Asked::new(text);
    let services: Vec<_> = now
        .desired
        .services
        .iter()
        .filter_map(|((id, l4), desired)| {
            let conflicts: Vec<_> = now.desired.conflicts.iter().filter(|c| c.owner == *id || c.loser == *id).collect();
            let matched = asked.service(id, *l4, desired, &conflicts)?;
            let conflicts = conflicts.into_iter().map(ConflictStatus::from).collect();
            let out_of_reach = way::to_service(now, desired);
            let service = status::service(id, desired);
            Some(ServiceExplained { matched, service, slots: desired.slots, conflicts, out_of_reach })
        })
        .collect();
    let named = now.running().filter(|container| is_container(container, text) || asked.is_at(container));
    let containers: Vec<_> = named.map(|found| container(now, found)).collect();
    let ended = ended::ended(now, text, &asked, &services);
    let mut answer = Explanation { query: text.to_owned(), services, containers, ended, nearest: Vec::new() };
    if !answer.known() {
        answer.nearest = nearest(now, &asked);
    }
    answer
}

/// A question taken apart. DNS names are compared in lower case and without the root's dot.
struct Asked {
    host: String,
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Asked {
    fn new(text: &str) -> Self {
        // Of a URL the host and the port count, which its scheme may imply.
        let url = text.contains("://").then(|| url::Url::parse(text).ok()).flatten();
        let of_url = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default())));
        let (host, port) =
            of_url.unwrap_or_else(|| match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
                Some((host, Ok(port))) if !host.contains(':') || host.starts_with('[') => (host, Some(port)),
                _ => (text, None),
            });
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        Self { address: host.parse().ok(), host, port }
    }

    /// Whether it is an address of this container's own.
    fn is_at(&self, container: &Container) -> bool {
        let has =
            |address| container.addresses.contains(&address) || container.network.addresses().any(|own| own == address);
        self.address.is_some_and(has)
    }

    /// Whether it names a service of this namespace.
    fn is_named(&self, namespace: &str, name: &str) -> bool {
        let host = self.host.as_str();
        let qualified = host.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        host == name || qualified == Some(namespace) || host.split_once('/') == Some((namespace, name))
    }

    /// Whether it may name a service of this namespace; empty: of one that is not known.
    fn may_name(&self, namespace: &str, name: &str) -> bool {
        let host = self.host.as_str();
        let anywhere = || {
            host == name
                || host.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
                || host.split_once('/').is_some_and(|(_, of)| of == name)
        };
        if namespace.is_empty() { anywhere() } else { self.is_named(namespace, name) }
    }

    /// How this leads to a service, if it does.
    fn service(&self, id: &ServiceId, l4: L4, desired: &DesiredService, conflicts: &[&Conflict]) -> Option<String> {
        let host = self.host.as_str();
        if let Some(address) = self.address {
            let endpoint = desired
                .endpoints
                .iter()
                .flat_map(|one| one.endpoint.addresses.iter())
                .find(|endpoint| endpoint.ip() == address && self.port.is_none_or(|port| port == endpoint.port()));
            return if desired.vips.is_some_and(|vips| vips.iter().any(|vip| vip == address)) {
                Some(self.dialled(&format!("{address} is its VIP"), l4, desired, |_| true))
            } else {
                endpoint.map(|endpoint| format!("{endpoint} is one of its endpoints"))
            };
        }
        if desired.aliases.iter().any(|alias| alias.name.as_str() == host) {
            let same = |name: &str| name == host;
            return Some(self.dialled(&format!("{host} is one of its aliases"), l4, desired, same));
        }
        let lost = conflicts.iter().find(|conflict| {
            conflict.loser == *id
                && conflict.alias.name.as_str() == host
                && self.port.is_none_or(|port| port == conflict.alias.port.get())
        });
        if let Some(Conflict { alias, owner, .. }) = lost {
            return Some(format!("it asked for {alias}, but {owner} comes before it there; dial another alias"));
        }
        if self.is_named(id.namespace.as_str(), id.name.as_str()) {
            return Some(self.dialled(&format!("{host} is its name"), l4, desired, |_| true));
        }
        None
    }

    /// Adds what is wrong with the port, if one was given and nobody answers it.
    fn dialled(&self, how: &str, l4: L4, desired: &DesiredService, name: impl Fn(&str) -> bool) -> String {
        let answers = |port| desired.aliases.iter().any(|alias| alias.port.get() == port && name(alias.name.as_str()));
        match self.port {
            Some(port) if !answers(port) => {
                let aliases: Vec<_> = desired.aliases.iter().map(ToString::to_string).collect();
                format!("{how}, but port {port}/{l4} refuses; dial {}", aliases.join(" or "))
            }
            Some(_) | None => how.to_owned(),
        }
    }
}

fn is_container(container: &Container, text: &str) -> bool {
    is_called(&container.id, &container.name, text)
}

/// Whether a container of this id and name is called so.
fn is_called(id: &str, name: &str, text: &str) -> bool {
    let by_id = text.len() >= MIN_ID_PREFIX && id.starts_with(&text.to_ascii_lowercase());
    by_id || (!text.is_empty() && *name == *text)
}

fn container(now: &Snapshot, container: &Container) -> ContainerExplained {
    let endpoints = now.desired.services.iter().flat_map(|((id, _), service)| {
        let own = service.endpoints.iter().filter(|endpoint| endpoint.endpoint.container == container.id);
        own.map(move |endpoint| EndpointExplained { service: id.to_string(), endpoint: endpoint.into() })
    });
    let none = Offers::default();
    let offers = now.offered.get(&container.id).map_or(&none, |offers| offers);
    let faults = offers.faults.iter();
    ContainerExplained {
        id: Arc::clone(&container.id),
        name: Arc::clone(&container.name),
        image: Arc::clone(&container.image),
        network: container.network.to_string(),
        hosts_file: now.hosts.explain(container),
        offers: offers.endpoints.iter().map(offer).collect(),
        endpoints: endpoints.collect(),
        faults: faults.map(|f| FaultExplained { label: f.label.to_string(), problem: f.problem.to_string() }).collect(),
        dns: dns(now, container),
        out_of_reach: way::from_container(now, container),
        missing: offers.why_not.as_deref().map(str::to_owned),
        before: ended::before(now, &container.id),
    }
}

/// What becomes of a container's DNS queries.
fn dns(now: &Snapshot, container: &Container) -> String {
    let servers: Vec<_> = now.name_servers.containers.iter().map(|server| server.ip().to_string()).collect();
    let servers = servers.join(", ");
    match &container.network {
        _ if matches!(now.resolver, ResolverState::Off) => "left alone: dns.capture is off".to_owned(),
        _ if container.own_dns => "left alone: it was given name servers of its own (--dns)".to_owned(),
        Network::Host { .. } => "as the host's: see dns.host".to_owned(),
        Network::Unsupported(_) => "as those of whoever has its network, if it has one".to_owned(),
        Network::Bridge { .. } if container.bridges.first().is_some_and(|bridge| now.resolver.answers(bridge)) => {
            format!("queries to {servers} are answered here")
        }
        Network::Bridge { .. } => {
            let why = now.resolver.why().map(|why| format!("; {why}")).unwrap_or_default();
            format!("queries to {servers} go there: the resolver is {}{why}", now.resolver.as_str())
        }
    }
}

fn offer(offer: &Offer) -> String {
    let (service, port) = (&offer.endpoint.service, offer.endpoint.addresses.first().port());
    match offer.origin {
        OfferOrigin::Labels => format!("{service} by label meshdog.{}.port={}", service.name, port),
        OfferOrigin::Rule(place) => format!("{service} by rule {} of [[service]], port {}", place + 1, port),
    }
}

/// The known names that are most like the one asked for.
fn nearest(now: &Snapshot, asked: &Asked) -> Vec<String> {
    let names = now.desired.names.keys().map(ToString::to_string);
    let ids = now.desired.services.keys().flat_map(|(id, _)| [id.to_string(), id.name.to_string()]);
    let containers = now.running().map(|container| container.name.to_string());
    let mut near: Vec<(f64, String)> = names
        .chain(ids)
        .chain(containers)
        .chain(ended::names(now))
        .map(|name| (strsim::jaro_winkler(&asked.host, &name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    near.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
    near.dedup_by(|(_, left), (_, right)| left == right);
    near.into_iter().take(NEAREST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
