//! What can be asked by GET, and the answers: each computed from one snapshot. Nothing that is asked here changes anything.

use hyper::{Method, StatusCode, Uri};
use prometheus_client::registry::Registry;

use super::answer::{HttpAnswer, answer, json, not_allowed, text};
use crate::telemetry::inputs::TelemetryInputs;
use crate::telemetry::metrics::counters::TrafficCounters;
use crate::telemetry::{explain, metrics, status};
use crate::update::Handle;

/// What there is to ask about.
#[derive(Debug)]
pub struct Api {
    inputs: TelemetryInputs,
    counters: TrafficCounters,
    registry: Registry,
    update: Handle,
}

/// Which of the two listeners a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerKind {
    /// The Unix socket: everything.
    Admin,
    /// The TCP port: metrics.
    Metrics,
}

impl Api {
    /// The answers, from these inputs; `registry` holds every metric there is, those of other modules included; `update`
    /// takes the commands about the node's update.
    #[must_use]
    pub fn new(inputs: TelemetryInputs, counters: TrafficCounters, registry: Registry, update: Handle) -> Self {
        Self { inputs, counters, registry, update }
    }

    /// What it reads.
    #[must_use]
    pub fn inputs(&self) -> &TelemetryInputs {
        &self.inputs
    }

    /// The counts of each service's connections.
    #[must_use]
    pub fn counters(&self) -> &TrafficCounters {
        &self.counters
    }

    /// Takes the commands about the node's update.
    pub(super) fn update(&self) -> &Handle {
        &self.update
    }

    /// The answer to a request that came in by this listener.
    pub(super) fn answer(&self, listener_kind: ListenerKind, method: &Method, uri: &Uri) -> HttpAnswer {
        let known = match listener_kind {
            ListenerKind::Admin => {
                matches!(uri.path(), "/status" | "/update" | "/metrics" | "/healthz" | "/readyz" | "/explain")
            }
            ListenerKind::Metrics => uri.path() == "/metrics",
        };
        if !known {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        if method != Method::GET {
            return not_allowed("GET");
        }
        match uri.path() {
            "/metrics" => match metrics::text(&self.registry) {
                Ok(body) => answer(StatusCode::OK, metrics::CONTENT_TYPE, body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")),
            },
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.inputs.snapshot().waiting_for() {
                missing if missing.is_empty() => text(StatusCode::OK, "ready\n"),
                missing => text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", missing.join(", "))),
            },
            "/status" => json(&status::build(&self.inputs.snapshot())),
            "/update" => json(&status::update(&self.inputs.snapshot())),
            _ => self.explain(uri.query().unwrap_or_default()),
        }
    }

    fn explain(&self, query: &str) -> HttpAnswer {
        let question =
            url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "q").map(|(_, value)| value);
        match question {
            Some(question) if !question.trim().is_empty() && question.len() <= explain::MAX_QUERY => {
                json(&explain::explain(&self.inputs.snapshot(), &question))
            }
            _ => text(StatusCode::BAD_REQUEST, "ask /explain?q=NAME, ADDRESS or CONTAINER of at most 256 bytes\n"),
        }
    }
}
