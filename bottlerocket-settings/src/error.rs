//! What can go wrong between the host API and its client.

use std::fmt;
use std::path::PathBuf;

use reqwest::{Method, StatusCode};

/// How much of the host's own text an error keeps, in bytes.
pub const MAX_TEXT: usize = 512;

/// A method and a path of the host API, such as `GET /settings`. Source: core-kit
/// `sources/api/apiserver/src/server/mod.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
}

impl Route {
    pub(crate) fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path }
    }

    pub(crate) fn post(path: &'static str) -> Self {
        Self { method: Method::POST, path }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Why the host API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client could be made for the socket.
    #[error("cannot make a client for the host API at {}", socket.display())]
    Client {
        /// The socket's path.
        socket: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// No whole answer: the server is away, or too slow. Whether it acted is unknown; a reboot may look like this.
    #[error("no answer from the host API at {} to {route}", socket.display())]
    NoAnswer {
        /// What was asked.
        route: Route,
        /// The socket's path.
        socket: PathBuf,
        /// Why.
        source: reqwest::Error,
    },
    /// The host refused.
    #[error("the host API answered {route} with {status}: {text}")]
    Refused {
        /// What was asked.
        route: Route,
        /// The answer's status.
        status: StatusCode,
        /// The host's own words, on one line, at most [`MAX_TEXT`] bytes.
        text: String,
    },
    /// The answer is larger than [`MAX_ANSWER`](crate::MAX_ANSWER).
    #[error("the host API's answer to {route} is larger than {} bytes", crate::MAX_ANSWER)]
    TooLarge {
        /// What was asked.
        route: Route,
    },
    /// The answer (or the change to send) is not of the shape that the API has.
    #[error("the host API's {route} does not fit its model")]
    Shape {
        /// What was asked.
        route: Route,
        /// Where it differs.
        source: serde_json::Error,
    },
}

impl Error {
    /// The status that the host refused with.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// An update action is under way (423); ask again later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status() == Some(StatusCode::LOCKED)
    }

    /// The update status does not exist in this boot yet (404 on the status, in words); a refresh makes it.
    #[must_use]
    pub fn is_uninitialized(&self) -> bool {
        matches!(self, Self::Refused { route, .. } if route.path == "/updates/status")
            && self.is_missing()
            && !self.is_unknown_route()
    }

    /// What was asked for is gone or not there yet (404).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// This host has no such route (404 without a word; anything else that is missing, it names).
    #[must_use]
    pub fn is_unknown_route(&self) -> bool {
        self.is_missing() && matches!(self, Self::Refused { text, .. } if text.is_empty())
    }

    /// The action is not allowed in the state that the update is in (409); read the status again.
    #[must_use]
    pub fn is_wrong_state(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// There was no answer at all, so that it is unknown whether the host acted.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }

    /// The connection was made and broke off before the answer: what a reboot that is on its way looks like.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::NoAnswer { source, .. } if !source.is_connect() && !source.is_timeout())
    }

    pub(crate) fn is_nothing_pending(&self) -> bool {
        self.status() == Some(StatusCode::UNPROCESSABLE_ENTITY)
    }
}

/// The host's own words on one line, bounded.
pub(crate) fn one_line(body: &[u8]) -> String {
    let head = body.get(..MAX_TEXT).unwrap_or(body);
    let mut text: String =
        String::from_utf8_lossy(head).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while text.len() > MAX_TEXT {
        text.pop();
    }
    text.truncate(text.trim_end().len());
    text
}
