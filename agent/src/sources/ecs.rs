//! The ECS agent's introspection API (amazon-ecs-agent, `ecs-agent/introspection/v1`): which ports a host-network
//! container of an ECS task uses, which Docker does not know.
//!
//! Owns nothing but the source's state; a node without ECS is simply a node without ECS. Every call is bounded in time
//! and size, and nobody waits for one with anything else.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use url::Url;

use crate::clients::http::{self, Client, Limits, StatusCode};
use crate::model::{L4, Source, SourceState};

/// The task's ARN, on every container that the ECS agent makes.
pub const LABEL_TASK: &str = "com.amazonaws.ecs.task-arn";
/// The container's name in its task definition.
pub const LABEL_CONTAINER: &str = "com.amazonaws.ecs.container-name";
/// The task definition's family.
pub const LABEL_FAMILY: &str = "com.amazonaws.ecs.task-definition-family";
/// How [`LABEL_CONTAINER`] begins on the agent's own pause containers.
pub const PAUSE: &str = "~internal~ecs~pause";

/// How long the agent may take over an answer, and the longest that is read: a task of many containers.
const LIMITS: Limits = Limits::new(Duration::from_secs(1), 1 << 20);
/// How often it is asked whether it is there.
const POLL_EVERY: Duration = Duration::from_secs(30);
/// Calls at once.
const CALLS: usize = 4;
/// When the ports of a new container are asked for: the agent learns of it from Docker as we do, maybe later.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// Why the agent's answer is of no use.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot ask the ECS agent; check paths.ecs_introspection")]
    Http(#[from] http::Error),
    #[error("cannot read the ECS agent's answer")]
    Json(#[from] serde_json::Error),
}

/// A client of the introspection API. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Ecs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Client,
    base: Url,
    calls: Semaphore,
    source: watch::Sender<Source>,
}

#[derive(Deserialize)]
struct EcsTask {
    #[serde(rename = "Containers", default)]
    containers: Vec<EcsContainer>,
}

#[derive(Deserialize)]
struct EcsContainer {
    #[serde(rename = "DockerId", default)]
    id: String,
    #[serde(rename = "Ports", default)]
    ports: Option<Vec<EcsPort>>,
}

#[derive(Deserialize)]
struct EcsPort {
    #[serde(rename = "ContainerPort", default)]
    container: u16,
    #[serde(rename = "HostPort", default)]
    host: u16,
    #[serde(rename = "Protocol", default)]
    protocol: String,
}

impl Ecs {
    /// A client of the API at this address, and the source's state.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(base: Url) -> Result<(Self, watch::Receiver<Source>), http::Error> {
        let http = Client::new(LIMITS)?;
        let (source, out) = watch::channel(Source::starting());
        Ok((Self(Arc::new(Inner { http, base, calls: Semaphore::new(CALLS), source })), out))
    }

    /// Keeps the source's state current, until dropped.
    pub async fn run(self) {
        loop {
            let answer = self.get("/v1/metadata", None).await;
            self.note(answer.map(drop));
            sleep(POLL_EVERY).await;
        }
    }

    /// The ports of a container by its full id; `None` where the agent does not know, or is not there.
    pub async fn ports(&self, container: &str) -> Option<Arc<[(NonZeroU16, L4)]>> {
        for delay in TRIES {
            sleep(delay).await;
            let answer = self.get("/v1/tasks", Some(container)).await;
            let task = answer.and_then(|body| match body {
                Some(body) => serde_json::from_slice::<EcsTask>(&body).map(Some).map_err(Error::from),
                None => Ok(None),
            });
            match task {
                Ok(task) => {
                    self.note(Ok(()));
                    if let Some(ports) = task.and_then(|task| ports_of(task, container)) {
                        return Some(ports);
                    }
                }
                Err(error) => self.note(Err(error)),
            }
        }
        None
    }

    /// The body of an answer; `None` where the agent knows nothing of what was asked.
    async fn get(&self, path: &str, container: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
        let Ok(_permit) = self.0.calls.acquire().await else { return Ok(None) };
        let mut url = self.0.base.clone();
        url.set_path(path);
        if let Some(container) = container {
            url.query_pairs_mut().append_pair("dockerid", container);
        }
        let answer = self.0.http.get(&url).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.success()?.body().await?))
    }

    fn note(&self, answer: Result<(), Error>) {
        super::enter(&self.0.source, "ecs", |now| match (answer, now) {
            (Ok(()), _) => SourceState::Up,
            // Never there: a node without ECS.
            (Err(_), SourceState::Starting | SourceState::Off) => SourceState::Off,
            (Err(error), _) => SourceState::down(&error),
        });
    }
}

fn ports_of(task: EcsTask, container: &str) -> Option<Arc<[(NonZeroU16, L4)]>> {
    let ports = task.containers.into_iter().find(|c| c.id == container)?.ports?;
    let mut ports: Vec<(NonZeroU16, L4)> = ports
        .into_iter()
        .filter_map(|port| {
            let l4 = match port.protocol.as_str() {
                "" | "tcp" => L4::Tcp,
                "udp" => L4::Udp,
                _ => return None,
            };
            NonZeroU16::new(port.host).or(NonZeroU16::new(port.container)).map(|port| (port, l4))
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    (!ports.is_empty()).then(|| ports.into())
}

#[cfg(test)]
mod tests;
