//! A client of the FleetLock protocol, by which a server lets nodes reboot in turns.
//!
//! Protocol: <https://coreos.github.io/zincati/development/fleetlock/protocol/>. It knows yes (200) and everything else,
//! and leaves open how a server says that it is somebody else's turn. The two servers in use say:
//! airlock (`internal/server/pre_reboot.go`) 500 of the kind `failed_lock`, which it also says when it is asked twice at
//! a time; Poseidon's fleetlock (`internal/encode.go`) 423 of the kind `lock_held`, and that to a release by a node that
//! does not hold the lock, too.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::ruling::Grant;
use crate::clients::http::{self, StatusCode};
use crate::model::untrusted::excerpt;

/// A server's words have a hundred bytes.
const LIMITS: http::Limits = http::Limits::new(Duration::from_secs(10), 64 * 1024).connect(Duration::from_secs(3));

/// Why the lock server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LockServerError {
    /// There is no HTTP at all on this machine.
    #[error("the lock server cannot be asked")]
    Client(#[source] http::Error),
    /// It cannot be reached, or does not answer in time. Whether the request was granted is not known.
    #[error("no answer from the lock server at {url}; check update.fleet.url, and that this node can reach it")]
    NoAnswer {
        /// What was asked.
        url: Url,
        /// What went wrong.
        source: http::Error,
    },
    /// It answered that it could not, or that the request was wrong.
    #[error("the lock server answered {url} with {status}: {words}; check update.fleet.group and the server's log")]
    Failed {
        /// What was asked.
        url: Url,
        /// The answer's status.
        status: StatusCode,
        /// The server's own words, bounded.
        words: Arc<str>,
    },
    /// What answers is no lock server.
    #[error("{url} answered {status}, and not as a FleetLock server does; check update.fleet.url")]
    Strange {
        /// What was asked.
        url: Url,
        /// The answer's status.
        status: StatusCode,
    },
}

/// A lock server, asked for one group.
#[derive(Debug, Clone)]
pub(super) struct LockServer {
    http: http::Client,
    pre_reboot: Url,
    steady_state: Url,
    group: Arc<str>,
}

/// What a server says where it does not say yes.
#[derive(Debug, Deserialize)]
struct Words {
    kind: String,
    value: String,
}

/// An answer that is not yes.
struct No {
    url: Url,
    status: StatusCode,
    kind: String,
    words: Arc<str>,
}

impl No {
    /// Whether it means that the lock is held by others, to a node that asked for it.
    fn taken(&self) -> bool {
        matches!(self.status, StatusCode::LOCKED | StatusCode::CONFLICT) || self.kind.starts_with("failed_lock")
    }

    fn failed(self) -> LockServerError {
        LockServerError::Failed { url: self.url, status: self.status, words: self.words }
    }
}

impl LockServer {
    pub(super) fn new(base: &Url, group: &Arc<str>) -> Result<Self, LockServerError> {
        Ok(Self {
            http: http::Client::new(LIMITS).map_err(LockServerError::Client)?,
            pre_reboot: http::below(base, &["v1", "pre-reboot"]),
            steady_state: http::below(base, &["v1", "steady-state"]),
            group: Arc::clone(group),
        })
    }

    pub(super) async fn acquire(&self, node: &str) -> Result<Grant, LockServerError> {
        match self.ask(&self.pre_reboot, node).await? {
            None => Ok(Grant::Granted),
            Some(no) if no.taken() => Ok(Grant::Refused(no.words)),
            Some(no) => Err(no.failed()),
        }
    }

    pub(super) async fn release(&self, node: &str) -> Result<(), LockServerError> {
        match self.ask(&self.steady_state, node).await? {
            None => Ok(()),
            // Held by another node, so not by this one.
            Some(no) if no.status == StatusCode::LOCKED => Ok(()),
            Some(no) => Err(no.failed()),
        }
    }

    /// `None` is yes.
    async fn ask(&self, url: &Url, node: &str) -> Result<Option<No>, LockServerError> {
        let no_answer = |source| LockServerError::NoAnswer { url: url.clone(), source };
        let request = self
            .http
            .post(url)
            .header("fleet-lock-protocol", "true")
            .json(&json!({ "client_params": { "id": node, "group": self.group } }));
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(None);
        }
        let body = match answer.body().await {
            Err(http::Error::TooLong(_)) => return Err(LockServerError::Strange { url: url.clone(), status }),
            body => body.map_err(no_answer)?,
        };
        // Not by its content type: airlock's says plain text.
        let Ok(Words { kind, value }) = serde_json::from_slice(&body) else {
            return Err(LockServerError::Strange { url: url.clone(), status });
        };
        let words = excerpt(if value.is_empty() { &kind } else { &value });
        Ok(Some(No { url: url.clone(), status, kind, words }))
    }
}

#[cfg(test)]
mod tests;
