//! Containers that ended here lately, for who asks after one of them or after a service that nobody serves any more. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Asked, ServiceExplained, is_called};
use crate::model::{End, Past};
use crate::telemetry::inputs::Snapshot;

/// How many are told at most.
const MAX_TOLD: usize = 5;

/// A container that does not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedExplained {
    /// Its full id.
    pub id: Arc<str>,
    /// Its Docker name.
    pub name: Arc<str>,
    /// The services that its labels name, `[namespace/]name`.
    pub services: Vec<String>,
    /// Its exit code, where Docker said it.
    pub exit_code: Option<i32>,
    /// Whether the kernel had run out of memory for it.
    pub out_of_memory: bool,
    /// When it ended (RFC 3339, UTC).
    pub ended: Timestamp,
    /// How often it began in the ten minutes before now.
    pub recent_starts: usize,
    /// Whether it ends and begins again over and over.
    pub loops: bool,
    /// All that in one sentence.
    pub what: String,
}

/// Whom the question names of those that ended, and who offered one of the services it named and that have no endpoints;
/// latest first.
pub(super) fn ended(now: &Snapshot, text: &str, asked: &Asked, services: &[ServiceExplained]) -> Vec<EndedExplained> {
    let bare: Vec<(&str, &str)> = services
        .iter()
        .filter(|explained| explained.service.endpoints.is_empty())
        .map(|explained| (&*explained.service.namespace, &*explained.service.name))
        .collect();
    let mut found: Vec<(&Arc<str>, &Past, End)> = now
        .pasts()
        .filter(|(id, _)| !now.runs(id))
        .filter(|(id, past)| {
            let offered = past.services.iter().map(|service| service.split_once('/').unwrap_or(("", service)));
            let of_bare = |(namespace, name): (&str, &str)| {
                bare.iter().any(|(of, known)| *known == name && (namespace.is_empty() || namespace == *of))
            };
            let of_unknown = |(namespace, name): (&str, &str)| services.is_empty() && asked.may_name(namespace, name);
            is_called(id, &past.name, text) || offered.clone().any(of_bare) || offered.clone().any(of_unknown)
        })
        .filter_map(|(id, past)| Some((id, past, past.end?)))
        .collect();
    found.sort_by_key(|(_, _, end)| std::cmp::Reverse(end.at_ms));
    found.into_iter().take(MAX_TOLD).map(|(id, past, end)| explained(now, id, past, end)).collect()
}

fn explained(now: &Snapshot, id: &Arc<str>, past: &Past, end: End) -> EndedExplained {
    let now_ms = now.wall_ms();
    EndedExplained {
        id: Arc::clone(id),
        name: Arc::clone(&past.name),
        services: past.services.iter().map(ToString::to_string).collect(),
        exit_code: end.exit_code,
        out_of_memory: end.out_of_memory,
        ended: i64::try_from(end.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default(),
        recent_starts: past.recent_starts(now_ms),
        loops: past.loops(now_ms),
        what: format!("container {} {}", past.name, past.told(now_ms).unwrap_or_default()),
    }
}

/// How a container that runs ended last, where that says something: it was nobody's wish.
pub(super) fn before(now: &Snapshot, id: &str) -> Option<String> {
    let past = now.containers.as_ref()?.pasts.get(id)?;
    past.end.filter(|end| !end.stopped && end.exit_code != Some(0))?;
    past.told(now.wall_ms())
}

/// The names of those that ended.
pub(super) fn names(now: &Snapshot) -> impl Iterator<Item = String> {
    now.pasts().filter(|(_, past)| past.end.is_some()).map(|(_, past)| past.name.to_string())
}

#[cfg(test)]
mod tests;
