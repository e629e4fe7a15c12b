//! `[[service]]`: rules that make endpoints of containers whose labels cannot be touched.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;

use toml::Spanned;
use toml::de::DeValue;

use super::glob::Glob;
use super::reader::{TomlTable, parsed, text, whole};
use crate::model::name::MAX_ALIASES;
use crate::model::{Alias, AppProtocol, DiscoveryName, HealthCheck, Namespace, ServiceId};

/// Most rules in one file: well over what a node may serve.
const MAX_SERVICES: usize = 16_384;
const MAX_LABELS: usize = 32;
const MAX_GLOB: usize = 512;

/// `[[service]]`: makes endpoints of containers whose labels cannot be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRule {
    /// The service's discovery name.
    pub name: DiscoveryName,
    /// Which containers. Every pattern that is given must match.
    pub matches: Match,
    /// The container's port.
    pub port: NonZeroU16,
    /// What clients dial. Never empty.
    pub alias: Vec<Alias>,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// How its health is asked; absent: by the container's own Docker health check, if it has one.
    pub health: Option<HealthCheck>,
}

/// `[[service]].match`: glob patterns (`*`, `?`), all of which must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// ECS task definition family (label `com.amazonaws.ecs.task-definition-family`).
    pub family: Option<Glob>,
    /// ECS container name (label `com.amazonaws.ecs.container-name`), else the Docker name.
    pub container: Option<Glob>,
    /// Image reference as the container was created with.
    pub image: Option<Glob>,
    /// Labels, in the order of their names.
    pub labels: Vec<(String, Glob)>,
}

/// What the rules read so far lay claim to.
#[derive(Default)]
struct Claims {
    /// A client alias belongs to one service.
    aliases: HashMap<Alias, DiscoveryName>,
    /// One rule picks the same containers for the same service and port once.
    picked: HashSet<(DiscoveryName, Match, NonZeroU16)>,
}

/// Reads every `[[service]]`.
pub(super) fn read(table: &mut TomlTable<'_, '_>, namespace: &Namespace) -> Vec<ServiceRule> {
    let mut claims = Claims::default();
    let rules = table.tables("service", "[[service]]", MAX_SERVICES, |table| rule(table, namespace, &mut claims));
    rules.into_iter().flatten().collect()
}

fn rule(table: &mut TomlTable<'_, '_>, namespace: &Namespace, claims: &mut Claims) -> Option<ServiceRule> {
    table.require("name", "write the service's discovery name, such as name = \"orders\"");
    table.require("match", "say which containers, such as match = { container = \"web\" }");
    table.require("port", "write the container's port, such as port = 8080");

    let name = table.get("name", parsed::<DiscoveryName>);
    let matches = matches(table);
    let port = table.get("port", whole(1..=u16::MAX)).and_then(NonZeroU16::new);
    let written = table.list("alias", 1..=MAX_ALIASES, parsed::<Alias>);
    let protocol = table.get("protocol", parsed).unwrap_or_default();
    let health = table.get("health", parsed);

    let (name, port) = (name?, port?);
    let alias = aliases(table, &name, namespace, port, written)?;
    for alias in &alias {
        claim(table, claims, alias, &name);
    }
    let alias = alias.into_iter().map(Spanned::into_inner).collect();
    if !claims.picked.insert((name.clone(), matches.clone(), port)) {
        table.fault("match", format!("an earlier [[service]] \"{name}\" on port {port} matches the same; remove one"));
    }
    Some(ServiceRule { name, matches, port, alias, protocol, health })
}

fn matches(table: &mut TomlTable<'_, '_>) -> Match {
    let (matches, empty) = table.table("match", "[service.match]", |table| {
        let matches = Match {
            family: table.get("family", glob),
            container: table.get("container", glob),
            image: table.get("image", glob),
            labels: labels(table),
        };
        (matches, table.is_empty())
    });
    if empty || matches_everything(&matches) {
        table.fault("match", "would match every container; name a family, container, image or labels");
    }
    matches
}

fn labels(table: &mut TomlTable<'_, '_>) -> Vec<(String, Glob)> {
    let mut labels = table.map("labels", MAX_LABELS, glob);
    labels.sort_by(|(a, _), (b, _)| a.cmp(b));
    labels
}

/// Every container has a name and an image, but not every one a family or a label.
fn matches_everything(matches: &Match) -> bool {
    let mut universal = [&matches.container, &matches.image].into_iter().flatten().peekable();
    let selective = matches.family.is_some() || !matches.labels.is_empty();
    !selective && universal.peek().is_some() && universal.all(Glob::matches_anything)
}

/// A pattern of at most [`MAX_GLOB`] bytes.
pub(super) fn glob(value: &DeValue<'_>) -> Result<Glob, String> {
    match text(value)? {
        "" => Err("is empty; write a pattern, in which * stands for any text and ? for one character".to_owned()),
        long if long.len() > MAX_GLOB => Err(format!("has {} bytes; at most {MAX_GLOB} are allowed", long.len())),
        pattern => Ok(Glob::new(pattern)),
    }
}

/// The aliases as written, else the one that every service has.
fn aliases(
    table: &mut TomlTable<'_, '_>,
    name: &DiscoveryName,
    namespace: &Namespace,
    port: NonZeroU16,
    written: Option<Vec<Spanned<Alias>>>,
) -> Option<Vec<Spanned<Alias>>> {
    let service = ServiceId { namespace: namespace.clone(), name: name.clone() };
    match service.qualified() {
        Ok(name) => Some(written.unwrap_or_else(|| vec![Spanned::new(table.place("name"), Alias { name, port })])),
        Err(problem) => {
            table.fault("name", format!("with namespace \"{namespace}\" behind it, {problem}"));
            None
        }
    }
}

fn claim(table: &mut TomlTable<'_, '_>, claims: &mut Claims, alias: &Spanned<Alias>, name: &DiscoveryName) {
    let key = if table.has("alias") { "alias" } else { "name" };
    match claims.aliases.entry(alias.get_ref().clone()) {
        Entry::Vacant(free) => {
            free.insert(name.clone());
        }
        Entry::Occupied(taken) if taken.get() == name => {}
        Entry::Occupied(taken) => {
            let problem =
                format!("{} is an alias of service \"{}\" already; choose another", alias.get_ref(), taken.get());
            table.fault_at(alias, key, problem);
        }
    }
}
