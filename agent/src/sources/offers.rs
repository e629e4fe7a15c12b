//! From a container and the settings to the endpoints it offers. Pure.
//!
//! Labels are written by whoever deploys a task. A label that cannot be read is a [`LabelFault`] and costs that container
//! that one service, nothing else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use self::alias_policy::admit;
use super::ecs::{LABEL_CONTAINER, LABEL_FAMILY, LABEL_TASK, PAUSE};
use crate::config::{Match, MeshSettings, ServiceRule};
use crate::model::label::{self, DIAL, DNS, ENABLE, OF_CONTAINERS, PREFIX};
use crate::model::name::parse_port;
use crate::model::untrusted::cut;
use crate::model::{
    Alias, AppProtocol, Container, DiscoveryName, Endpoint, EndpointAddresses, EndpointId, EndpointState, HealthCheck,
    L4, LabelFault, LocalNetwork, Network, Node, Offer, OfferOrigin, Offers, PublishedPort, ServiceId, SocketAddrs,
    Weight, nearest,
};

mod alias_policy;
mod misspelt;

/// The most services that one container's labels may offer.
const MAX_SERVICES: usize = 32;
/// The most aliases that one label may give a service.
const MAX_ALIASES: usize = 16;
/// The most endpoints that rules may make of one container.
const MAX_OFFERS: usize = 8192;
/// The most faults of one container that are kept; the rest is counted.
const MAX_FAULTS: usize = 64;

/// What can follow `meshdog.<discovery name>.`.
const KEYS: [&str; 6] = ["port", "alias", "protocol", "health", "weight", "namespace"];

/// The endpoints that a container offers by its labels and by the rules.
#[must_use]
pub fn offers(container: &Container, rules: &[ServiceRule], mesh: &MeshSettings, node: &Node) -> Offers {
    let mut reader = Reader { container, mesh, node, offers: Offers::default() };
    if let Err(why_not) = reader.read(rules) {
        reader.offers.endpoints.clear();
        reader.offers.why_not = Some(why_not.into());
    }
    reader.offers
}

/// What the services of a container's labels cost of the node's budget, in the order of their names: each as many names as
/// it asks for. A container that is kept out of the mesh asks for none.
#[must_use]
pub fn name_costs(labels: &BTreeMap<String, String>, baked: &BTreeSet<String>, image_labels: bool) -> Arc<[usize]> {
    if label::switch(labels, ENABLE) == Ok(false) {
        return Arc::default();
    }
    services_named(labels, baked, image_labels).into_values().take(MAX_SERVICES).collect()
}

/// The discovery names of labels, and how many names each asks for.
fn services_named<'a>(
    labels: &'a BTreeMap<String, String>,
    baked: &BTreeSet<String>,
    image_labels: bool,
) -> BTreeMap<&'a str, usize> {
    let mut named = BTreeMap::new();
    for (label, value) in of_ours(labels) {
        if let Place::Service { name, key } = Place::of(label)
            && (image_labels || !baked.contains(label))
        {
            let cost: &mut usize = named.entry(name).or_insert(1);
            if key == "alias" {
                *cost = value.split(',').take(MAX_ALIASES).count();
            }
        }
    }
    named
}

/// The labels that begin as ours do.
fn of_ours(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    // '/' follows '.': the range of everything that begins with the prefix.
    labels.range(PREFIX.to_owned().."meshdog/".to_owned())
}

/// What a label of ours is about.
enum Place<'a> {
    /// The container.
    Container,
    /// A key of a service.
    Service { name: &'a str, key: &'a str },
    /// A name that is taken by a label about the container.
    Taken(&'a str),
    /// Nothing that is known.
    Unknown,
}

impl<'a> Place<'a> {
    fn of(label: &'a str) -> Self {
        match label.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) {
            Some((name, _)) if OF_CONTAINERS.iter().any(|known| known.strip_prefix(PREFIX) == Some(name)) => {
                Self::Taken(name)
            }
            Some((name, key)) => Self::Service { name, key },
            None if OF_CONTAINERS.contains(&label) => Self::Container,
            None => Self::Unknown,
        }
    }
}

struct Reader<'a> {
    container: &'a Container,
    mesh: &'a MeshSettings,
    node: &'a Node,
    offers: Offers,
}

/// The labels of one discovery name: key to value.
type Keys<'a> = BTreeMap<&'a str, &'a str>;

impl<'a> Reader<'a> {
    fn read(&mut self, rules: &[ServiceRule]) -> Result<(), String> {
        let labels = &self.container.labels;
        if labels.get(LABEL_CONTAINER).is_some_and(|name| name.starts_with(PAUSE)) {
            return Err("it is a pause container of the ECS agent".into());
        }
        match label::switch(labels, ENABLE) {
            Ok(false) => return Err(format!("label {ENABLE}=false keeps it out")),
            Ok(true) => {}
            Err(problem) => self.fault(ENABLE, problem),
        }
        for (label, problem) in misspelt::foreign(labels) {
            self.fault(label, problem);
        }
        // Read where names are written; here, where all faults of labels are told, only whether they can be.
        self.check(label::switch(labels, DNS), || DNS.to_owned());
        self.check(label::dialled(labels), || DIAL.to_owned());
        let services = self.services();
        let matching: Vec<(usize, &ServiceRule)> = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| matches(&rule.matches, self.container))
            .filter(|(_, rule)| !services.contains_key(rule.name.as_str()))
            .collect();
        if services.is_empty() && matching.is_empty() {
            return Err(match self.fault_count() {
                0 => "it has no meshdog label and no [[service]] rule matches".into(),
                _ => {
                    "none of its labels names a service that it offers, and no [[service]] rule matches; see its faults"
                        .into()
                }
            });
        }
        if let Network::Unsupported(why) = &self.container.network {
            return Err(why.to_string());
        }
        for (number, (name, keys)) in services.into_iter().enumerate() {
            if number >= MAX_SERVICES {
                let problem = format!("is one service too many; one container's labels may offer {MAX_SERVICES}");
                self.fault(&format!("{PREFIX}{name}"), problem);
            } else if number >= self.container.admitted {
                let problem = "is left out: the labels of this node's containers ask for more names than it has room for, \
                               and those that were there first have them; have fewer services or aliases, or run it \
                               elsewhere";
                self.fault(&format!("{PREFIX}{name}"), problem.to_owned());
            } else if let Some(offer) = self.labelled(name, &keys) {
                self.offers.endpoints.push(offer);
            }
        }
        let mut taken = HashSet::new();
        for (place, rule) in matching {
            if !taken.insert((&rule.name, rule.port, rule.protocol.l4())) {
                continue;
            }
            let service = ServiceId { namespace: self.mesh.namespace.clone(), name: rule.name.clone() };
            let aliases = rule.alias.iter().cloned().collect();
            let Some(endpoint) = self.endpoint(service, rule.port, rule.protocol, aliases, Weight::default()) else {
                continue;
            };
            if self.offers.endpoints.len() == MAX_OFFERS {
                let problem = format!("is one service too many; the rules may make {MAX_OFFERS} of one container");
                self.fault(rule.name.as_str(), problem);
                continue;
            }
            let origin = OfferOrigin::Rule(place);
            self.offers.endpoints.push(Offer { endpoint, health: rule.health.clone(), origin });
        }
        match self.offers.endpoints.is_empty() {
            true => Err("none of its services can be read; see its faults".into()),
            false => Ok(()),
        }
    }

    /// The labels by discovery name. A key that is not one of ours is a fault, and the service goes on without it.
    fn services(&mut self) -> BTreeMap<&'a str, Keys<'a>> {
        let container = self.container;
        let mut services: BTreeMap<&str, Keys<'a>> = BTreeMap::new();
        for (label, value) in of_ours(&container.labels) {
            let (name, key) = match Place::of(label) {
                Place::Service { name, key } => (name, key),
                Place::Container => continue,
                Place::Taken(name) => {
                    let problem = format!("{PREFIX}{name} is about the container; name the service otherwise");
                    self.fault(label, problem);
                    continue;
                }
                Place::Unknown => {
                    self.fault(label, misspelt::unknown(label));
                    continue;
                }
            };
            if container.baked.contains(label) && !self.mesh.image_labels {
                let problem = "is baked into the image, and an image's word is not the deployer's; set mesh.image_labels, \
                               or have the image do without it and whoever deploys it set it";
                self.fault(label, problem.to_owned());
                continue;
            }
            let keys = services.entry(name).or_default();
            if KEYS.contains(&key) {
                keys.insert(key, value);
            } else {
                let problem = match nearest(key, &KEYS) {
                    Some(nearest) => format!("key {:?} is not known; did you mean {nearest}?", brief(key)),
                    None => format!("key {:?} is not known; known are {}", brief(key), KEYS.join(", ")),
                };
                self.fault(label, problem);
            }
        }
        services
    }

    /// The offer of one discovery name's labels, or its faults.
    fn labelled(&mut self, name: &str, keys: &Keys<'_>) -> Option<Offer> {
        let label = |key: &str| format!("{PREFIX}{name}.{key}");
        let faults_before = self.fault_count();
        let discovery = self.check(name.parse::<DiscoveryName>(), || label("port"));
        let port = match keys.get("port") {
            Some(port) => self.check(parse_port(port), || label("port")),
            None => {
                self.fault(&label("port"), "is missing; write the container's port".into());
                None
            }
        };
        let protocol = self.read_key(keys, "protocol", &label).unwrap_or_default();
        let weight = self.read_key(keys, "weight", &label).unwrap_or_default();
        let health: Option<HealthCheck> = self.read_key(keys, "health", &label);
        let namespace = self.read_key(keys, "namespace", &label).unwrap_or_else(|| self.mesh.namespace.clone());
        let service = ServiceId { namespace, name: discovery? };
        let port = port?;
        let written = match keys.get("alias") {
            Some(text) => self.check(aliases(text), || label("alias"))?,
            None => Vec::new(),
        };
        if self.fault_count() > faults_before {
            return None;
        }
        // The service does without the names that are not its to claim.
        let mut aliases = self.admitted(written, &service, || label("alias"));
        if aliases.is_empty() {
            let qualified = service.qualified().map_err(|e| format!("is missing, and cannot be made up: {e}"));
            aliases.push(Alias { name: self.check(qualified, || label("alias"))?, port });
        }
        let endpoint = self.endpoint(service, port, protocol, aliases.into(), weight)?;
        Some(Offer { endpoint, health, origin: OfferOrigin::Labels })
    }

    /// Those of the aliases that a label may claim; a fault for each of the others.
    fn admitted(&mut self, aliases: Vec<Alias>, service: &ServiceId, label: impl Fn() -> String) -> Vec<Alias> {
        let (allow, of_host) = (&self.mesh.alias_allow, &self.node.hosts);
        let admit = |alias: &Alias| admit(&alias.name, &service.namespace, allow, of_host);
        let judged: Vec<_> = aliases.into_iter().map(|alias| admit(&alias).map(|()| alias)).collect();
        judged.into_iter().filter_map(|alias| self.check(alias, &label)).collect()
    }

    fn read_key<T>(&mut self, keys: &Keys<'_>, key: &str, label: &impl Fn(&str) -> String) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let value = keys.get(key)?;
        self.check(value.parse(), || label(key))
    }

    /// The value, or a fault of that label.
    fn check<T, E: std::fmt::Display>(&mut self, value: Result<T, E>, label: impl Fn() -> String) -> Option<T> {
        value.map_err(|problem| self.fault(&label(), problem.to_string())).ok()
    }

    fn endpoint(
        &self,
        service: ServiceId,
        port: NonZeroU16,
        protocol: AppProtocol,
        aliases: Arc<[Alias]>,
        weight: Weight,
    ) -> Option<Arc<Endpoint>> {
        let container = self.container;
        let addresses = self.addresses(port, protocol.l4())?;
        let task = container.labels.get(LABEL_TASK).map_or_else(|| container.name.clone(), |arn| brief(arn).into());
        Some(Arc::new(Endpoint {
            service,
            id: EndpointId::new(&container.id, port, protocol.l4()),
            addresses,
            protocol,
            aliases,
            weight,
            node: self.node.name.clone(),
            zone: self.node.zone.clone(),
            task,
            container: container.id.clone(),
            started_ms: container.started_ms,
            state: EndpointState::Starting,
            last_resort: false,
            reason: Arc::default(),
        }))
    }

    /// Where a port of the container is reached; `None` where its network is none that the mesh can use.
    fn addresses(&self, port: NonZeroU16, l4: L4) -> Option<EndpointAddresses> {
        let of_node = |port| SocketAddrs { ip: self.node.address.into(), port };
        match &self.container.network {
            Network::Bridge { address, published } => {
                let here = |on: &&PublishedPort| on.host_ip.is_none_or(|ip| ip == self.node.address);
                let published = published.iter().filter(|on| on.port == port && on.l4 == l4).find(here);
                Some(EndpointAddresses::Own {
                    network: LocalNetwork::Bridge,
                    local: SocketAddrs { ip: *address, port },
                    published: published.map(|on| of_node(on.host_port)),
                })
            }
            Network::Host { .. } => Some(EndpointAddresses::Own {
                network: LocalNetwork::Host,
                local: of_node(port),
                published: Some(of_node(port)),
            }),
            Network::Unsupported(_) => None,
        }
    }

    fn fault_count(&self) -> usize {
        self.offers.faults.len() + self.offers.more_faults
    }

    fn fault(&mut self, label: &str, problem: String) {
        if self.offers.faults.len() < MAX_FAULTS {
            let (container, label) = (self.container.id.clone(), brief(label).into());
            self.offers.faults.push(LabelFault { container, label, problem: cut(&problem, 512).into() });
        } else {
            self.offers.more_faults += 1;
        }
    }
}

/// The aliases of a label, each once, in the order they are written.
fn aliases(text: &str) -> Result<Vec<Alias>, String> {
    let mut seen = HashSet::new();
    let mut aliases = Vec::new();
    for piece in text.split(',') {
        let alias: Alias = piece.trim().parse().map_err(|error| format!("{error}"))?;
        if seen.insert(alias.clone()) {
            aliases.push(alias);
        }
        if aliases.len() > MAX_ALIASES {
            return Err(format!("has more than {MAX_ALIASES} aliases; write fewer"));
        }
    }
    Ok(aliases)
}

/// Whether a rule is about this container. A rule without any pattern is about none.
fn matches(rule: &Match, container: &Container) -> bool {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    let asked = rule.family.is_some() || rule.container.is_some() || rule.image.is_some() || !rule.labels.is_empty();
    let name = label(LABEL_CONTAINER).unwrap_or(&container.name);
    asked
        && rule.family.as_ref().is_none_or(|glob| label(LABEL_FAMILY).is_some_and(|family| glob.matches(family)))
        && rule.container.as_ref().is_none_or(|glob| glob.matches(name))
        && rule.image.as_ref().is_none_or(|glob| glob.matches(&container.image))
        && rule.labels.iter().all(|(name, glob)| label(name).is_some_and(|value| glob.matches(value)))
}

/// A stranger's text, short enough to be shown.
fn brief(text: &str) -> &str {
    cut(text, 160)
}

#[cfg(test)]
mod tests;
