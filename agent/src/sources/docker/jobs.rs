//! Requests to dockerd (and to the ECS agent) that are under way, each in a task of its own so that none of them, nor
//! the reading of a long answer, ever holds up an event.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker as Client;
use bollard::errors::Error as DockerError;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::events::Death;
use super::history::MAX_PASTS;
use super::images::{ImageLabels, Images, of_ours};
use super::inspect::{Attachment, Inspected, Ports, bridge, digest};
use super::listed::{Listed, ended};
use super::state::Ask;
use crate::model::{ContainerId, IfName};
use crate::sources::ecs::{Ecs, LABEL_CONTAINER, PAUSE};

/// How long Docker may take over a small answer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take over any answer, a list of everything included.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Inspections at once.
const INSPECTIONS: usize = 8;

/// What a request came to.
#[derive(Debug)]
pub(super) enum JobAnswer {
    /// All running containers; `None`: no answer in time.
    Listed(Option<Result<Vec<Listed>, DockerError>>),
    /// Containers that do not run any more, and how many milliseconds ago each ended; none where Docker does not say.
    Ended(Vec<(ContainerId, Death, u64)>),
    /// One container; `None`: it does not run; an error, for people.
    Inspected(ContainerId, u64, Result<Option<Inspected>, String>),
    /// Bridge networks by id; `None`: no answer in time.
    Bridges(u64, Option<Result<BTreeMap<String, IfName>, DockerError>>),
    /// Where Docker keeps its files.
    Root(Result<Arc<Path>, RootError>),
    /// Ports that the ECS agent named.
    Ports(ContainerId, u64, Ports),
    /// dockerd lives; `None`: it did not answer in time.
    Pong(Option<Result<(), DockerError>>),
}

/// The requests of one connection. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Jobs {
    client: Client,
    ecs: Ecs,
    inspections: Arc<Semaphore>,
    images: watch::Sender<Images>,
    running: JoinSet<Option<Done>>,
}

/// A request that is done, and the image that was looked at meanwhile.
type Done = (JobAnswer, Option<(Arc<str>, ImageLabels)>);

impl Jobs {
    pub(super) fn new(client: Client, ecs: Ecs) -> Self {
        let inspections = Arc::new(Semaphore::new(INSPECTIONS));
        Self { client, ecs, inspections, images: watch::Sender::default(), running: JoinSet::new() }
    }

    /// The next answer; `None` while nothing is under way. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<JobAnswer, JoinError>> {
        loop {
            match self.running.join_next().await? {
                Ok(Some((answer, image))) => {
                    if let Some((id, labels)) = image {
                        self.images.send_modify(|images| images.learn(id, labels));
                    }
                    return Some(Ok(answer));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Lists what runs.
    pub(super) fn list(&mut self) {
        let client = self.client.clone();
        self.running.spawn(async move {
            let list = timeout(LIST_TIMEOUT, client.list_containers(None)).await.ok();
            let read = |list: Vec<ContainerSummary>| list.into_iter().filter_map(Listed::read).collect();
            Some((JobAnswer::Listed(list.map(|list| list.map(read))), None))
        });
    }

    /// Lists what ran lately. Only people ask for it, so that nothing depends on the answer.
    pub(super) fn list_ended(&mut self) {
        let client = self.client.clone();
        self.running.spawn(async move {
            let only = HashMap::from([("status", vec!["exited", "restarting"])]);
            let limit = i32::try_from(MAX_PASTS).ok()?;
            let options = ListContainersOptionsBuilder::new().all(true).limit(limit).filters(&only).build();
            let list = timeout(LIST_TIMEOUT, client.list_containers(Some(options))).await.ok()?.ok()?;
            Some((JobAnswer::Ended(list.into_iter().filter_map(ended).take(MAX_PASTS).collect()), None))
        });
    }

    /// Asks whether dockerd lives.
    pub(super) fn ping(&mut self) {
        let client = self.client.clone();
        self.running.spawn(async move {
            let pong = timeout(CALL_TIMEOUT, client.ping()).await.ok();
            Some((JobAnswer::Pong(pong.map(|pong| pong.map(drop))), None))
        });
    }

    /// Asks now.
    pub(super) fn ask(&mut self, ask: Ask) {
        let answer = self.answer(ask);
        self.running.spawn(answer);
    }

    /// Asks after a while.
    pub(super) fn ask_after(&mut self, ask: Ask, delay: Duration) {
        let answer = self.answer(ask);
        self.running.spawn(async move {
            sleep(delay).await;
            answer.await
        });
    }

    fn answer(&self, ask: Ask) -> impl Future<Output = Option<Done>> + Send + 'static {
        let (client, ecs, inspections) = (self.client.clone(), self.ecs.clone(), self.inspections.clone());
        let images = self.images.subscribe();
        async move {
            let mut learned = None;
            let answer = match ask {
                Ask::Inspect(id, ticket) => {
                    let _permit = inspections.acquire().await.ok()?;
                    let inspected = Box::pin(inspect(&client, &id, &images, &mut learned)).await;
                    JobAnswer::Inspected(id, ticket, inspected)
                }
                Ask::Bridges(ticket) => JobAnswer::Bridges(ticket, timeout(LIST_TIMEOUT, bridges(&client)).await.ok()),
                Ask::Root => JobAnswer::Root(root(&client).await),
                Ask::Ports(id, ticket) => {
                    let ports = ecs.ports(&id).await?;
                    JobAnswer::Ports(id, ticket, ports)
                }
            };
            Some((answer, learned))
        }
    }
}

/// One container, the image that it may have labels from, and the container whose network it shares, if it does.
async fn inspect(
    client: &Client,
    id: &str,
    images: &watch::Receiver<Images>,
    learned: &mut Option<(Arc<str>, ImageLabels)>,
) -> Result<Option<Inspected>, String> {
    let Some(mut inspected) = inspect_one(client, id).await? else { return Ok(None) };
    if inspected.has_labels_of_ours()
        && let Some(image) = inspected.image_id.clone()
    {
        let known = images.borrow().get(&image);
        let labels = match known {
            Some(labels) => labels,
            None => match labels_of_image(client, &image).await? {
                Some(labels) => learned.insert((image, of_ours(labels))).1.clone(),
                None => ImageLabels::default(),
            },
        };
        inspected.bake(&labels);
    }
    if let Attachment::Joins(other) = &inspected.attachment {
        let nothing =
            |why: &str| Attachment::Nothing(format!("it shares the network of container {other}, {why}").into());
        let found = inspect_one(client, other).await?;
        // The mode may name it otherwise than by its id.
        let owner = found.as_ref().map(|found| found.id.clone());
        let joined = match found {
            None => nothing("which does not run"),
            Some(other) => match other.attachment {
                Attachment::Joins(_) => nothing("which shares another's itself"),
                Attachment::Nothing(_) if is_pause(&other) => {
                    nothing("an ECS pause container: network mode awsvpc is not served")
                }
                Attachment::Nothing(why) => nothing(&format!("and of that: {why}")),
                usable => usable,
            },
        };
        inspected.attachment = joined;
        inspected.hosts.joins = owner.or(inspected.hosts.joins);
    }
    Ok(Some(inspected))
}

fn is_pause(inspected: &Inspected) -> bool {
    inspected.labels.get(LABEL_CONTAINER).is_some_and(|name| name.starts_with(PAUSE))
}

async fn inspect_one(client: &Client, id: &str) -> Result<Option<Inspected>, String> {
    let answer = timeout(CALL_TIMEOUT, client.inspect_container(id, None::<InspectContainerOptions>)).await;
    match answer {
        Err(_) => Err(format!("no answer within {CALL_TIMEOUT:?}")),
        Ok(Err(DockerError::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(response)) => Ok(digest(response)),
    }
}

/// The labels of an image; `None` where it is gone while a container of it still runs.
async fn labels_of_image(client: &Client, id: &str) -> Result<Option<HashMap<String, String>>, String> {
    match timeout(CALL_TIMEOUT, client.inspect_image(id)).await {
        Err(_) => Err(format!("no answer about its image within {CALL_TIMEOUT:?}")),
        Ok(Err(DockerError::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(image)) => Ok(Some(image.config.and_then(|config| config.labels).unwrap_or_default())),
    }
}

async fn bridges(client: &Client) -> Result<BTreeMap<String, IfName>, DockerError> {
    let only = HashMap::from([("driver", vec!["bridge"])]);
    let options = ListNetworksOptionsBuilder::new().filters(&only).build();
    Ok(client.list_networks(Some(options)).await?.into_iter().filter_map(bridge).collect())
}

/// Why it is not known where Docker keeps its files.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The answer.
    #[error("Docker does not say of itself where it keeps its files")]
    Docker(#[from] DockerError),
    /// No answer.
    #[error("Docker did not say within {CALL_TIMEOUT:?} where it keeps its files")]
    Silent(#[from] Elapsed),
    /// It has none, or none that can be one.
    #[error("Docker names {0:?} as the directory of its files, which is no absolute path")]
    NotAPath(String),
}

/// Where Docker keeps its files, as the host sees it.
pub(super) async fn root(client: &Client) -> Result<Arc<Path>, RootError> {
    let named = timeout(CALL_TIMEOUT, client.info()).await??.docker_root_dir.unwrap_or_default();
    let path = Path::new(&named);
    if path.is_absolute() { Ok(path.into()) } else { Err(RootError::NotAPath(named)) }
}
