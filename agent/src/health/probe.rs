//! One endpoint's probes, as a task: asks, counts, reports what changed.
//!
//! Asks from the host's network namespace by plain sockets. Whatever answers is a stranger: time, headers and messages
//! are bounded, bodies are not read, redirects not followed. HTTP is spoken by hyper itself, since `clients::http` sets
//! no bound to an answer's head.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::probe_state::{FAILURES, ProbeState};
use crate::model::{EndpointKey, EndpointState, HealthCheck, error_chain};

/// How long an endpoint may take over its answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Probes at once, of all containers.
pub(super) const AT_ONCE: usize = 512;
/// Of these, what repetitions leave to endpoints that have not been probed yet.
const KEPT_FOR_FIRST: u32 = 128;
/// Repetitions at once of one container, whose silence costs nobody else anything.
const AT_ONCE_EACH: usize = 64;
/// First probes at once of one container.
const FIRST_EACH: usize = 16;
/// How long a repetition is put off where too many are under way, half as much more or less.
const PUT_OFF: Duration = Duration::from_millis(100);
/// The most bytes of an HTTP answer's head.
const MAX_HEAD: usize = 16 << 10;
/// The most bytes of a gRPC health answer.
const MAX_MESSAGE: usize = 1 << 10;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeFailure {
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error("not HTTP, or its head is too long")]
    Http(#[from] hyper::Error),
    #[error("the path cannot be asked for")]
    Path(#[from] hyper::http::Error),
    #[error("status {0}; 200 to 399 is healthy")]
    Status(u16),
    #[error("cannot connect for gRPC")]
    Grpc(#[from] tonic::transport::Error),
    #[error("gRPC health check failed with {0:?}")]
    GrpcStatus(tonic::Code),
    #[error("gRPC health check says {0}")]
    NotServing(&'static str),
}

/// What a probe task has to say of its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeReport {
    pub(super) key: EndpointKey,
    /// Which life of the endpoint it is about.
    pub(super) life: u64,
    pub(super) state: EndpointState,
    pub(super) reason: Arc<str>,
    /// Whether the last probe failed: a healthy endpoint is allowed a few failures, one that is being stopped is not.
    pub(super) silent: bool,
}

/// How many probe at once: a container's shares, and the bound on all. A container has at most its share of what all have,
/// and a probe that waits within its share holds nothing of the others'.
///
/// An endpoint's first probe decides when it begins to serve, so it never waits for others' repetitions: these leave
/// [`KEPT_FOR_FIRST`] to first ones, and are put off rather than wait where a first one would queue behind them.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    first: Arc<Semaphore>,
    again: Arc<Semaphore>,
    /// One repetition of each container at a time sees whether there is room, so that each has the same prospects.
    door: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// A turn; it lasts as long as this.
#[derive(Debug)]
struct Turn<'a> {
    _share: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

impl Turns {
    /// Those of one more container.
    pub(super) fn new(all: Arc<Semaphore>) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { first: semaphore(FIRST_EACH), again: semaphore(AT_ONCE_EACH), door: semaphore(1), all }
    }

    /// Waits for the turn of a first probe.
    async fn first(&self) -> Result<Turn<'_>, AcquireError> {
        let share = self.first.acquire().await?;
        Ok(Turn { _share: share, _of_all: self.all.acquire().await? })
    }

    /// Waits for the turn of a repetition.
    async fn again(&self) -> Result<Turn<'_>, AcquireError> {
        let share = self.again.acquire().await?;
        let _door = self.door.acquire().await?;
        loop {
            match self.all.try_acquire_many(KEPT_FOR_FIRST + 1) {
                Ok(mut free) => {
                    // All but one go back at once: they were asked for to see that they are there.
                    if let Some(one) = free.split(1) {
                        return Ok(Turn { _share: share, _of_all: one });
                    }
                }
                Err(TryAcquireError::Closed) => drop(self.all.acquire().await?),
                Err(TryAcquireError::NoPermits) => {}
            }
            sleep(PUT_OFF.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

/// What one endpoint's probes need.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) key: EndpointKey,
    pub(super) life: u64,
    pub(super) address: SocketAddr,
    pub(super) check: HealthCheck,
    /// Where it stands so far.
    pub(super) state: ProbeState,
    pub(super) turns: Turns,
    pub(super) reports: mpsc::Sender<ProbeReport>,
}

impl Probing {
    /// Probes until dropped. Each change of state or reason is reported.
    pub(super) async fn run(self) {
        let Self { key, life, address, check, mut state, turns, reports } = self;
        let mut told: Option<(EndpointState, Arc<str>)> = None;
        let mut told_silent = false;
        // Of one that was known when the agent last ran, what was known stands.
        let mut is_first = state == ProbeState::NEW;
        loop {
            let result = {
                let turn = if is_first { turns.first().await } else { turns.again().await };
                let Ok(_turn) = turn else { return };
                Box::pin(probe(&check, address)).await
            };
            is_first = false;
            let before = state;
            state = state.after(result.is_ok());
            let silent = result.is_err();
            let first = || told.is_none().then(|| still(state, &check, &result)).flatten();
            let news = news(before, state, &check, &result).or_else(first).or_else(|| told.clone());
            if let Some((state, reason)) = news.clone()
                && (told != news || told_silent != silent)
            {
                (told, told_silent) = (news, silent);
                if reports.send(ProbeReport { key: key.clone(), life, state, reason, silent }).await.is_err() {
                    return;
                }
            }
            // A tenth more or less, so that endpoints that started together do not stay together.
            sleep(state.wait(before).mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        }
    }
}

/// State and reason, where this probe settled or changed them: one failure of a healthy endpoint says nothing yet.
fn news(
    before: ProbeState,
    state: ProbeState,
    check: &HealthCheck,
    result: &Result<(), ProbeFailure>,
) -> Option<(EndpointState, Arc<str>)> {
    let reason = match (state, result) {
        (ProbeState::Healthy(0), Ok(())) => format!("answers its {check} check"),
        (ProbeState::Starting(_), Err(failure)) => {
            format!("has not passed its {check} check yet: {}", error_chain(failure))
        }
        (ProbeState::Unhealthy(_), Err(failure)) if before.state() == EndpointState::Healthy => {
            format!("failed its {check} check {FAILURES} times in a row: {}", error_chain(failure))
        }
        _ => return None,
    };
    Some((state.state(), reason.into()))
}

/// State and reason of an endpoint that was unhealthy before it was first asked, and is.
fn still(
    state: ProbeState,
    check: &HealthCheck,
    result: &Result<(), ProbeFailure>,
) -> Option<(EndpointState, Arc<str>)> {
    match (state, result) {
        (ProbeState::Unhealthy(_), Err(failure)) => {
            Some((state.state(), format!("still fails its {check} check: {}", error_chain(failure)).into()))
        }
        _ => None,
    }
}

/// Asks once.
pub(super) async fn probe(check: &HealthCheck, address: SocketAddr) -> Result<(), ProbeFailure> {
    let asked = async {
        match check {
            HealthCheck::None => Ok(()),
            HealthCheck::Tcp => Ok(TcpStream::connect(address).await.map(drop)?),
            HealthCheck::Http(path) => http(address, path).await,
            HealthCheck::Grpc(service) => grpc(address, service).await,
        }
    };
    timeout(TIMEOUT, asked).await.unwrap_or(Err(ProbeFailure::Timeout))
}

async fn http(address: SocketAddr, path: &str) -> Result<(), ProbeFailure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = hyper::Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("meshdog/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    match sender.send_request(request).await?.status().as_u16() {
        200..=399 => Ok(()),
        other => Err(ProbeFailure::Status(other)),
    }
}

/// `grpc.health.v1.Health/Check` (gRPC health checking protocol).
async fn grpc(address: SocketAddr, service: &str) -> Result<(), ProbeFailure> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = HealthClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    match answer.map_err(|status| ProbeFailure::GrpcStatus(status.code()))?.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(ProbeFailure::NotServing(other.as_str_name())),
    }
}

#[cfg(test)]
mod tests;
