//! Docker's event stream: one HTTP response that never ends, a JSON object a line (`GET /events`, Docker Engine API).
//!
//! Read here rather than through bollard for two reasons. An event carries all of its container's labels, and
//! bollard's decoder parses everything it has again with every read, so that one container with thousands of labels
//! would delay every other container's stop by a large part of a second; and it knows no bound.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::inspect::MAX_NAME;
use super::service_names::ServiceNames;
use super::signal::Signal;
use crate::model::label::PREFIX;
use crate::model::untrusted::cut;
use crate::model::{ContainerId, DockerHealth};

/// The longest event that is read. Twenty thousand labels make about 2 MiB.
const MAX_EVENT: usize = 16 << 20;

/// How far back events are asked for. Docker answers the request before it subscribes, so what happens between the two
/// is found in its own memory of late events; some more, for a clock that is being set back a little.
const OVERLAP: Duration = Duration::from_millis(200);

/// What is asked for: everything else (above all the `exec_*` of every Docker health check) stays in dockerd.
const FILTERS: &str = r#"{"type":["container","network"],"event":["start","kill","oom","die","destroy","health_status","pause","unpause","rename","create","connect","disconnect","remove"]}"#;

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventsError {
    /// The socket.
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    /// HTTP.
    #[error("the event stream broke")]
    Http(#[from] hyper::Error),
    /// Docker refused.
    #[error("Docker answered the request for events with status {0}")]
    Status(u16),
    /// The stream ended.
    #[error("Docker closed the event stream")]
    Ended,
    /// A line without an end.
    #[error("an event is longer than {MAX_EVENT} bytes")]
    TooLong,
}

/// What happened, as far as the mesh is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DockerEvent {
    /// A container began to run.
    Started(ContainerId),
    /// A signal was sent to it; `None` where Docker does not say which.
    Killed(ContainerId, Option<Signal>),
    /// The kernel ran out of memory for it; it may outlive that.
    Starved(ContainerId),
    /// It ended.
    Died(ContainerId, Death),
    /// It was removed.
    Gone(ContainerId),
    /// Its health check said something new.
    Health(ContainerId, DockerHealth),
    /// It was frozen (true) or thawed.
    Paused(ContainerId, bool),
    /// Something about it changed: its name, its networks.
    Changed(ContainerId),
    /// A network was made or removed.
    Networks,
}

impl DockerEvent {
    /// The container that it is about.
    pub(super) fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Started(id) | Self::Starved(id) | Self::Gone(id) | Self::Changed(id) => Some(id),
            Self::Killed(id, _) | Self::Died(id, _) | Self::Health(id, _) | Self::Paused(id, _) => Some(id),
            Self::Networks => None,
        }
    }
}

/// What Docker says of a container that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Death {
    pub(super) name: Arc<str>,
    /// The services that its labels name, as [`Past::services`](crate::model::Past::services).
    pub(super) services: Arc<[Box<str>]>,
    pub(super) exit_code: Option<i32>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

#[derive(Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Attributes,
}

/// The only attributes that matter. The container's labels stand among them, and those that name no service are skipped:
/// they may be thousands.
#[derive(Default)]
struct Attributes {
    signal: Option<String>,
    container: Option<String>,
    name: Option<String>,
    exit_code: Option<String>,
    services: ServiceNames,
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event's attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut read = Attributes::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match &*key {
                        "signal" => read.signal = map.next_value()?,
                        "container" => read.container = map.next_value()?,
                        "name" => read.name = map.next_value()?,
                        "exitCode" => read.exit_code = map.next_value()?,
                        label if label.starts_with(PREFIX) => {
                            let value: Cow<'de, str> = map.next_value()?;
                            read.services.take(label, &value);
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(read)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Reads one line; `None` for an event that does not matter or cannot be read.
pub(super) fn parse(line: &[u8]) -> Option<DockerEvent> {
    let raw: Raw = serde_json::from_slice(line).ok()?;
    let Actor { id, attributes } = raw.actor;
    match (raw.kind.as_str(), raw.action.as_str()) {
        ("container", action) => {
            let id = container_id(&id)?;
            Some(match action {
                "start" => DockerEvent::Started(id),
                "kill" => DockerEvent::Killed(id, attributes.signal.as_deref().and_then(Signal::parse)),
                "oom" => DockerEvent::Starved(id),
                "die" => {
                    let name = cut(attributes.name.as_deref().unwrap_or_default(), MAX_NAME).into();
                    let exit_code = attributes.exit_code.and_then(|code| code.parse().ok());
                    DockerEvent::Died(id, Death { name, services: attributes.services.sorted(), exit_code })
                }
                "destroy" => DockerEvent::Gone(id),
                "pause" => DockerEvent::Paused(id, true),
                "unpause" => DockerEvent::Paused(id, false),
                "rename" => DockerEvent::Changed(id),
                other => match other.strip_prefix("health_status")?.trim_start_matches(':').trim() {
                    "healthy" => DockerEvent::Health(id, DockerHealth::Healthy),
                    "unhealthy" => DockerEvent::Health(id, DockerHealth::Unhealthy),
                    "starting" => DockerEvent::Health(id, DockerHealth::Starting),
                    _ => DockerEvent::Changed(id),
                },
            })
        }
        ("network", "create" | "destroy" | "remove") => Some(DockerEvent::Networks),
        ("network", "connect" | "disconnect") => {
            container_id(attributes.container.as_deref()?).map(DockerEvent::Changed)
        }
        _ => None,
    }
}

fn container_id(text: &str) -> Option<ContainerId> {
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| text.into())
}

/// A subscription.
pub(super) struct Events {
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    _connection: AbortOnDropHandle<()>,
}

impl Events {
    /// Subscribes. What happens from this call on is told, some of what happened just before it too.
    pub(super) async fn open(socket: &Path, api: &str) -> Result<Self, EventsError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OVERLAP);
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("since", &since)
            .append_pair("filters", FILTERS)
            .finish();
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // An error of the connection shows in the body.
            let _ = connection.await;
        }));
        let mut request = hyper::Request::new(Empty::new());
        *request.uri_mut() = format!("/v{api}/events?{query}").parse().map_err(|_| EventsError::Status(0))?;
        request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("docker"));
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(EventsError::Status(response.status().as_u16()));
        }
        Ok(Self { body: response.into_body(), buffer: BytesMut::new(), searched: 0, _connection: connection })
    }

    /// The next event that matters. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<DockerEvent, EventsError> {
        loop {
            while let Some(line) = self.line() {
                if let Some(event) = parse(&line) {
                    return Ok(event);
                }
            }
            if self.buffer.len() > MAX_EVENT {
                return Err(EventsError::TooLong);
            }
            let frame = self.body.frame().await.ok_or(EventsError::Ended)??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    fn line(&mut self) -> Option<BytesMut> {
        let Some(end) = self.buffer.iter().skip(self.searched).position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + end);
        self.buffer.advance(1);
        self.searched = 0;
        if self.buffer.is_empty() {
            // One long event is no reason to keep its room for ever.
            self.buffer = BytesMut::new();
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests;
