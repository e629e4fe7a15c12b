//! Labels that were meant for us and are none of ours: what was probably meant. Pure.

use std::collections::BTreeMap;

use super::{KEYS, brief};
use crate::model::label::{OF_CONTAINERS, PREFIX};
use crate::model::nearest;

/// The most labels of one container that are told to be misspelt.
const MAX_TOLD: usize = 8;
/// How alike the first word of a label must be to ours (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.85;

/// What is wrong with a label that begins as ours do and is none.
pub(super) fn unknown(label: &str) -> String {
    let rest = label.strip_prefix(PREFIX).unwrap_or(label);
    if let Some(key) = nearest(rest, &KEYS).filter(|key| close(rest, key)) {
        return format!("names no service; write {PREFIX}<discovery name>.{key}");
    }
    let of_containers = OF_CONTAINERS.map(|known| known.strip_prefix(PREFIX).unwrap_or(known));
    match nearest(rest, &of_containers) {
        Some(near) => format!("is not known; did you mean {PREFIX}{near}?"),
        None => format!("is not known; write {} or {PREFIX}<discovery name>.<key>", OF_CONTAINERS.join(", ")),
    }
}

/// Labels whose first word is nearly ours and that otherwise read as labels of ours do, and what is wrong with each.
pub(super) fn foreign(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, String)> {
    labels.keys().filter_map(|label| Some((label.as_str(), meant(label)?))).take(MAX_TOLD)
}

fn meant(label: &str) -> Option<String> {
    let ours = PREFIX.trim_end_matches('.');
    let (first, rest) = label.split_once(['.', '-', '_', '/', ':'])?;
    let differs = !label.starts_with(PREFIX);
    // Most labels are somebody else's; the comparison takes time.
    if !differs || !(ours.len() - 2..=ours.len() + 2).contains(&first.len()) || !first.is_ascii() {
        return None;
    }
    if strsim::jaro_winkler(&first.to_ascii_lowercase(), ours) < ALIKE {
        return None;
    }
    let key = rest.rsplit(['.', '-', '_', '/', ':']).next()?;
    let of_container = OF_CONTAINERS.iter().find(|known| known.strip_prefix(PREFIX) == Some(rest));
    let meant = match (of_container, KEYS.iter().find(|known| **known == key)) {
        (Some(known), _) => (*known).to_owned(),
        (None, Some(key)) => match rest.split_once(['.', '-', '_', '/', ':']) {
            Some((name, _)) => format!("{PREFIX}{}.{key}", brief(name)),
            None => format!("{PREFIX}<discovery name>.{key}"),
        },
        (None, None) => return None,
    };
    Some(format!("is no label of meshdog; did you mean {meant}?"))
}

fn close(a: &str, b: &str) -> bool {
    strsim::damerau_levenshtein(&a.to_ascii_lowercase(), b) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign_of(label: &str) -> Option<String> {
        let labels = [(label.to_owned(), "80".to_owned())].into();
        foreign(&labels).next().map(|(_, problem)| problem)
    }

    #[test]
    fn a_label_that_is_nearly_ours_is_told_with_what_was_meant() {
        for (label, meant) in [
            ("meshdgo.orders.port", "meshdog.orders.port"),
            ("Meshdog.orders.port", "meshdog.orders.port"),
            ("meshdog-orders-port", "meshdog.orders.port"),
            ("meshdog_orders.alias", "meshdog.orders.alias"),
            ("mesh-dog.orders.port", ""),
            ("meshdogs.orders.health", "meshdog.orders.health"),
            ("mesdog.enable", "meshdog.enable"),
            ("meshdgo.port", "meshdog.<discovery name>.port"),
        ] {
            match meant {
                "" => assert_eq!(foreign_of(label), None, "{label}"),
                meant => assert!(foreign_of(label).unwrap().ends_with(&format!("{meant}?")), "{label}"),
            }
        }
    }

    #[test]
    fn other_peoples_labels_are_left_alone() {
        for label in [
            "com.docker.compose.project",
            "traefik.http.routers.orders.port",
            "meshdog.orders.port",
            "meshdog.io/owner",
            "messdog.colour",
            "mesh.orders.port",
            "maintainer",
            "",
            "é",
        ] {
            assert_eq!(foreign_of(label), None, "{label}");
        }
        let many = (0..5000).map(|n| (format!("meshdgo.s{n}.port"), String::new())).collect();
        assert_eq!(foreign(&many).count(), MAX_TOLD);
    }

    #[test]
    fn a_key_without_a_service_is_told_where_the_service_stands() {
        assert_eq!(unknown("meshdog.port"), "names no service; write meshdog.<discovery name>.port");
        assert_eq!(unknown("meshdog.ports"), "names no service; write meshdog.<discovery name>.port");
        assert_eq!(unknown("meshdog.enabled"), "is not known; did you mean meshdog.enable?");
        assert!(unknown("meshdog.zzz").contains("write meshdog.enable, meshdog.dns, meshdog.dial or"));
        assert!(unknown("meshdog.").contains("is not known"));
    }
}
