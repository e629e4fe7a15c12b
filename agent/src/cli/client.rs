//! Asks the running agent over its admin socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use url::Url;

use crate::clients::http::{self, Client, Limits, Request, StatusCode};

/// Largest answer that is read, in bytes: a status of far more endpoints than the agent is made for.
const MAX_ANSWER: usize = 256 << 20;
/// For a question, answer included.
const QUESTION: Limits = Limits::new(Duration::from_secs(2), MAX_ANSWER);
/// For a command: more than the agent gives it, which writes it to the disk.
const COMMAND: Limits = Limits::new(Duration::from_secs(6), MAX_ANSWER);

/// Why a command about the running agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answers at the socket.
    #[error("no agent answers at {socket}; is meshdog running, and is this its configuration?")]
    Connect {
        /// The admin socket.
        socket: PathBuf,
        /// What the kernel said.
        source: Cause,
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
        source: Cause,
    },
    /// The body broke off, or was too long.
    #[error("the answer of the agent at {socket} cannot be read")]
    Body {
        /// The admin socket.
        socket: PathBuf,
        /// What happened to the body.
        source: Cause,
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

/// What lies at the bottom of an HTTP error. The client's own words above it tell nobody anything.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(String);

impl From<http::Error> for Cause {
    fn from(error: http::Error) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self(cause.to_string())
    }
}

/// The body of `GET path`.
///
/// # Errors
/// Unless the agent answers 200 within the time of [`QUESTION`].
pub(super) async fn get(socket: &Path, path: &str) -> Result<Vec<u8>, Error> {
    ask(socket, QUESTION, path, Client::get).await
}

/// The body of what is answered to `POST path`.
///
/// # Errors
/// Unless the agent answers 200 within the time of [`COMMAND`].
pub(super) async fn post(socket: &Path, path: &str) -> Result<Vec<u8>, Error> {
    ask(socket, COMMAND, path, Client::post).await
}

/// The body of `GET path`, read as JSON.
///
/// # Errors
/// As [`get`], and when the body is not a `T`.
pub(super) fn parse<T: DeserializeOwned>(socket: &Path, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Answer { socket: socket.to_owned(), source })
}

async fn ask(
    socket: &Path,
    limits: Limits,
    path: &str,
    question: fn(&Client, &Url) -> Request,
) -> Result<Vec<u8>, Error> {
    let own = || socket.to_owned();
    let failed = |error: http::Error| match error {
        error if error.is_timeout() => Error::Timeout(own(), limits.timeout),
        error if error.is_connect() => Error::Connect { socket: own(), source: error.into() },
        error => Error::Http { socket: own(), source: error.into() },
    };
    let url = Url::parse(&format!("http://meshdog{path}"));
    let url = url.map_err(|error| Error::Http { socket: own(), source: Cause(error.to_string()) })?;
    let client = Client::at_socket(socket, limits).map_err(failed)?;
    let answer = question(&client, &url).send().await.map_err(failed)?;
    let status = answer.status();
    let body = answer.body().await.map_err(|error| match error {
        error if error.is_timeout() => failed(error),
        error => Error::Body { socket: own(), source: error.into() },
    })?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    Err(Error::Refused { socket: own(), status, text })
}

#[cfg(test)]
mod tests;
