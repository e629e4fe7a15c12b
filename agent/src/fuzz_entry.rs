//! What strangers' bytes must never do: one function a fuzz target (`agent/fuzz/fuzz_targets`), which panics where
//! something does not hold of them.
//!
//! Built for tests, which run every corpus (`agent/fuzz/corpus`) through its target, and by cargo-fuzz, which looks for
//! more. What is private is asked beside it (`names::dns::fuzz`, `dataplane::fuzz`, `update::journal::fuzz`).

use std::collections::{BTreeMap, HashSet};
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bottlerocket_settings::{MAX_TEXT, Os, Settings, UpdateStatus};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use crate::dataplane::fuzz::netlink;
use crate::model::{Container, DockerHealth, DualStack, HostsFile, Network, Node, Offer, OfferOrigin, Offers};
pub use crate::names::dns::fuzz::dns;
use crate::sources::offers::offers;
pub use crate::update::journal::fuzz::journal;

/// The longest message about a configuration, in bytes: one of its longest values, each character escaped, and words.
const MAX_MESSAGE: usize = 48 << 10;

/// User data: there are settings, or faults that stand in the text. Settings written again are the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("user-data");
    let settings = match crate::config::parse(path, text) {
        Ok(settings) => settings,
        Err(errors) => {
            assert!(!errors.list().is_empty());
            for error in errors.list() {
                let line = text.split('\n').nth(error.line - 1);
                assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{error:?} is nowhere");
                assert!(!error.message.contains(char::is_control), "{error:?} is more than a line");
                assert!(error.message.len() <= MAX_MESSAGE, "{error:?} is too long");
            }
            return;
        }
    };
    let written = text.strip_prefix('\u{feff}').unwrap_or(text).parse::<toml::Table>().map(|table| table.to_string());
    let again = written.map(|text| crate::config::parse(path, &text));
    assert!(again.as_ref().is_ok_and(|again| again.as_ref() == Ok(&settings)), "{settings:?} became {again:?}");

    settings.mesh.vip_ranges.iter().for_each(|range| reads_back(&range));
    settings.mesh.dialled().for_each(reads_back);
    for service in &settings.services {
        reads_back(&service.name);
        reads_back(&service.protocol);
        service.alias.iter().for_each(reads_back);
        service.health.iter().for_each(reads_back);
    }
    settings.update.windows.iter().for_each(reads_back);
    settings.update.refuse.iter().for_each(reads_back);
    let now = Timestamp::UNIX_EPOCH;
    let opens = settings.update.next_open(now);
    assert!(opens.is_some_and(|opens| opens >= now && settings.update.open(opens)), "no window opens: {opens:?}");
}

/// Labels, one `KEY=VALUE` a line, of a container that a rule matches as well: what is offered is bounded, and written
/// as labels it is offered again.
pub fn labels(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let found = offered(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(found.endpoints.is_empty(), found.why_not.is_some(), "{found:?}");
    assert!(found.endpoints.len() <= 8192 && found.faults.len() <= 64);
    assert!(found.faults.iter().all(|fault| fault.label.len() <= 160 && fault.problem.len() <= 512));
    let ids: HashSet<_> = found.endpoints.iter().map(|offer| (&offer.endpoint.service, &offer.endpoint.id)).collect();
    assert_eq!(ids.len(), found.endpoints.len(), "one endpoint is offered twice: {found:?}");
    for endpoint in found.endpoints.iter().map(|offer| &offer.endpoint) {
        let aliases: HashSet<_> = endpoint.aliases.iter().collect();
        assert!((1..=64).contains(&aliases.len()) && aliases.len() == endpoint.aliases.len(), "{endpoint:?}");
        assert!(endpoint.task.len() <= 160, "{endpoint:?}");
    }
    let again = offered(found.endpoints.iter().filter(|offer| offer.origin == OfferOrigin::Labels).flat_map(as_labels));
    let labelled = |offers: Offers| {
        let offers = offers.endpoints.into_iter().filter(|offer| offer.origin == OfferOrigin::Labels);
        let offers = offers.map(|Offer { endpoint, health, .. }| {
            let crate::model::Endpoint { service, id, addresses, protocol, aliases, weight, .. } = &*endpoint;
            (service.clone(), id.clone(), *addresses, *protocol, aliases.clone(), *weight, health)
        });
        offers.collect::<Vec<_>>()
    };
    assert_eq!(labelled(again), labelled(found));
}

fn offered(labels: impl IntoIterator<Item = (String, String)>) -> Offers {
    let rules =
        "version = 1\n[[service]]\nname = \"web\"\nmatch = { container = \"web*\", image = \"shop/*\" }\nport = 80";
    let Ok(settings) = crate::config::parse(Path::new("user-data"), rules) else { return Offers::default() };
    let container = Container {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        name: "web-1".into(),
        image: "shop/web:1".into(),
        labels: Arc::new(labels.into_iter().collect()),
        network: Network::Bridge { address: DualStack::V4([172, 17, 0, 3].into()), published: Arc::default() },
        hosts: HostsFile::None,
        health: DockerHealth::None,
        started_ms: 0,
        stopping: false,
        addresses: Arc::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        paused: false,
    };
    let node = Node {
        name: "node".into(),
        address: [10, 0, 1, 5].into(),
        zone: None,
        os_version: None,
        hosts: Arc::default(),
    };
    offers(&container, &settings.services, &settings.mesh, &node)
}

fn as_labels(offer: &Offer) -> Vec<(String, String)> {
    let endpoint = &offer.endpoint;
    let aliases: Vec<String> = endpoint.aliases.iter().map(ToString::to_string).collect();
    let mut keys = BTreeMap::from([
        ("port", endpoint.addresses.first().port().to_string()),
        ("alias", aliases.join(",")),
        ("protocol", endpoint.protocol.to_string()),
        ("weight", endpoint.weight.get().to_string()),
        ("namespace", endpoint.service.namespace.to_string()),
    ]);
    keys.extend(offer.health.as_ref().map(|health| ("health", health.to_string())));
    keys.into_iter().map(|(key, value)| (format!("meshdog.{}.{key}", endpoint.service.name), value)).collect()
}

/// Answers of the host API: what one says is kept, known or not, and written again it says the same.
pub fn host_api(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Value>(bytes) else {
        assert!(read::<Settings>(bytes).is_none() && read::<Os>(bytes).is_none());
        return;
    };
    for written in [read::<Settings>(bytes), read::<Os>(bytes)].into_iter().flatten() {
        assert!(keeps(&answer, &written), "{answer} became {written}");
    }
    read::<UpdateStatus>(bytes);
    let Ok(status) = serde_json::from_slice::<UpdateStatus>(bytes) else { return };
    let told = status.most_recent_command.map(|command| command.stderr_line()).unwrap_or_default();
    assert!(told.len() <= MAX_TEXT && !told.contains(char::is_control), "{told:?}");
}

/// What a model makes of an answer, as JSON.
fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<Value> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_string(&value).unwrap_or_default();
    assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(&value), "written as {written}");
    serde_json::from_str(&written).ok()
}

/// Whether nothing is lost but nulls, which the host does not store, and how an address was written.
fn keeps(answer: &Value, written: &Value) -> bool {
    match (answer, written) {
        (Value::Object(answer), Value::Object(written)) => answer
            .iter()
            .all(|(key, value)| value.is_null() || written.get(key).is_some_and(|written| keeps(value, written))),
        (Value::Array(answer), Value::Array(written)) => {
            answer.len() == written.len() && answer.iter().zip(written).all(|(answer, written)| keeps(answer, written))
        }
        (Value::String(answer), Value::String(written)) if answer != written => {
            let address = |text: &str| text.parse::<IpAddr>().ok();
            address(answer).is_some() && address(answer) == address(written)
        }
        _ => answer == written,
    }
}

fn reads_back<T: FromStr + Display + PartialEq + Debug>(value: &T) {
    let written = value.to_string();
    assert_eq!(written.parse().ok().as_ref(), Some(value), "{written:?}");
}

#[cfg(test)]
mod tests;
