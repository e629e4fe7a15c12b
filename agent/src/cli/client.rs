//! Asks the running agent over its admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long one question may take, answer included.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long an order may take: more than the agent gives it, which writes it to the disk.
const ORDER_TIMEOUT: Duration = Duration::from_secs(6);
/// Largest answer that is read, in bytes: a status of far more endpoints than the agent is made for.
const MAX_ANSWER: usize = 256 << 20;

/// Why a command about the running agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answers at the socket.
    #[error("no agent answers at {socket}; is meshdog running, and is this its configuration?")]
    Connect {
        /// The admin socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The agent took too long.
    #[error("the agent at {0} did not answer within {1:?}")]
    Timeout(PathBuf, Duration),
    /// The connection broke, or was no HTTP.
    #[error("the agent at {socket} broke off")]
    Http {
        /// The admin socket.
        socket: PathBuf,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// The body broke off, or was too long.
    #[error("the answer of the agent at {socket} cannot be read")]
    Body {
        /// The admin socket.
        socket: PathBuf,
        /// What happened to the body.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The agent refused the question.
    #[error("the agent at {socket} answered {status}: {text}")]
    Refused {
        /// The admin socket.
        socket: PathBuf,
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The answer is not what this version understands.
    #[error("the agent at {socket} answered something else; are the agent and this command of one version?")]
    Answer {
        /// The admin socket.
        socket: PathBuf,
        /// Where the answer differs.
        source: serde_json::Error,
    },
}

/// The body of `GET path`.
///
/// # Errors
/// Unless the agent answers 200 within [`TIMEOUT`].
pub(super) async fn get(socket: &Path, path: &str) -> Result<Bytes, Error> {
    within(TIMEOUT, socket, ask(socket, Method::GET, path)).await
}

/// The body of what is answered to `POST path`.
///
/// # Errors
/// Unless the agent answers 200 within [`ORDER_TIMEOUT`].
pub(super) async fn post(socket: &Path, path: &str) -> Result<Bytes, Error> {
    within(ORDER_TIMEOUT, socket, ask(socket, Method::POST, path)).await
}

/// The body of `GET path`, read as JSON.
///
/// # Errors
/// As [`get`], and when the body is not a `T`.
pub(super) fn parse<T: DeserializeOwned>(socket: &Path, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Answer { socket: socket.to_owned(), source })
}

async fn within(
    patience: Duration,
    socket: &Path,
    answer: impl Future<Output = Result<Bytes, Error>>,
) -> Result<Bytes, Error> {
    timeout(patience, answer).await.unwrap_or_else(|_| Err(Error::Timeout(socket.to_owned(), patience)))
}

async fn ask(socket: &Path, method: Method, path: &str) -> Result<Bytes, Error> {
    let http = |source| Error::Http { socket: socket.to_owned(), source };
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| Error::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    // All is fixed by us but for the question, which is percent-encoded: a path that is no path is asked as "/".
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("meshdog"));
    let answer = async {
        let answer = sender.send_request(request).await.map_err(http)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|source| Error::Body { socket: socket.to_owned(), source })?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).trim().to_owned();
        Err(Error::Refused { socket: socket.to_owned(), status, text })
    };
    // The connection only moves while it is polled; its own end is seen through the answer.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        ended = connection => ended.map_err(http)?,
    }
    answer.await
}

#[cfg(test)]
mod tests;
