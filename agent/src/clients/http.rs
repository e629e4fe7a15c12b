//! HTTP/1.1 as the agent speaks it to everybody: bounded in time and size, straight to the address that is written.
//!
//! Whatever answers is a stranger. So no proxy is used (it would be asked about addresses that only this node can
//! reach, and its error pages would be taken for answers), no redirect is followed, no connection is kept (by the next
//! question a kept one may be found dead), a whole exchange takes no longer than [`Limits::timeout`], and no more of a
//! body is read than [`Limits::body`]. Sends no secret anywhere, and shows no URL in an error: a URL may hold one.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use meshdog::clients::http::{Client, Error, Limits};
//! # async fn ask() -> Result<(), Error> {
//! const LIMITS: Limits = Limits::new(Duration::from_secs(1), 64 * 1024);
//! let client = Client::new(LIMITS)?;
//! let url = "http://127.0.0.1:51678/v1/metadata".parse().expect("a URL");
//! // An answer is there once its head is; its body is read only by whoever wants it.
//! let answer = client.get(&url).header("accept", "application/json").send().await?;
//! let body = answer.success()?.body().await?;
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::time::Duration;

pub use reqwest::StatusCode;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Method, RequestBuilder, Response};
use serde::Serialize;
use url::Url;

/// How this agent names itself to servers.
pub const USER_AGENT: &str = concat!("meshdog/", env!("CARGO_PKG_VERSION"));

/// How long an exchange may take, and how much of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first attempt to connect to the last byte that is read.
    pub timeout: Duration,
    /// For the connection alone.
    pub connect: Duration,
    /// The longest body that is read, in bytes.
    pub body: usize,
}

impl Limits {
    /// So long for all of it, the connection included; a body of so many bytes.
    #[must_use]
    pub const fn new(timeout: Duration, body: usize) -> Self {
        Self { timeout, connect: timeout, body }
    }

    /// The same, with a shorter time to connect.
    #[must_use]
    pub const fn connect(self, connect: Duration) -> Self {
        Self { connect, ..self }
    }
}

/// Why there is no answer, or not the wanted one. Whoever shows it names the address: no URL is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no HTTP at all on this machine.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    /// The server cannot be reached, took too long, broke off, or speaks no HTTP.
    #[error(transparent)]
    Exchange(reqwest::Error),
    /// The body is longer than [`Limits::body`].
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is whole, and its status is not 200 to 299.
    #[error("the answer's status is {0}")]
    Status(StatusCode),
}

impl Error {
    /// Whether no connection came to be: nothing was asked.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_connect())
    }

    /// Whether the time was up. What was asked may have been done.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_timeout())
    }

    /// The status of a whole answer that was not wanted.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) => Some(*status),
            Self::Client(_) | Self::Exchange(_) | Self::TooLong(_) => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Exchange(error.without_url())
    }
}

/// A client with these limits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    max_body: usize,
}

/// A question that is still to be asked.
#[derive(Debug)]
pub struct Request {
    builder: RequestBuilder,
    max_body: usize,
}

/// An answer whose head is there. Dropped, its connection is closed, and the body is not read.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    max_body: usize,
}

impl Client {
    /// A client of servers at TCP addresses. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn new(limits: Limits) -> Result<Self, Error> {
        Self::build(reqwest::Client::builder(), limits)
    }

    /// A client of the server at this Unix socket. The host in a URL is a name only.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn at_socket(socket: &Path, limits: Limits) -> Result<Self, Error> {
        Self::build(reqwest::Client::builder().unix_socket(socket), limits)
    }

    fn build(builder: ClientBuilder, limits: Limits) -> Result<Self, Error> {
        let http = builder
            .timeout(limits.timeout)
            .connect_timeout(limits.connect)
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { http, max_body: limits.body })
    }

    /// A GET of this URL.
    #[must_use]
    pub fn get(&self, url: &Url) -> Request {
        self.request(Method::GET, url)
    }

    /// A PUT to this URL.
    #[must_use]
    pub fn put(&self, url: &Url) -> Request {
        self.request(Method::PUT, url)
    }

    /// A POST to this URL.
    #[must_use]
    pub fn post(&self, url: &Url) -> Request {
        self.request(Method::POST, url)
    }

    fn request(&self, method: Method, url: &Url) -> Request {
        Request { builder: self.http.request(method, url.clone()), max_body: self.max_body }
    }
}

impl Request {
    /// Adds a header. One that HTTP does not allow shows when the request is sent.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    /// Sends this value as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        Self { builder: self.builder.json(value), ..self }
    }

    /// Asks. The answer may have any status.
    ///
    /// # Errors
    /// [`Error::Exchange`].
    pub async fn send(self) -> Result<Answer, Error> {
        Ok(Answer { response: self.builder.send().await?, max_body: self.max_body })
    }
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The same, if its status is 200 to 299.
    ///
    /// # Errors
    /// [`Error::Status`].
    pub fn success(self) -> Result<Self, Error> {
        if self.status().is_success() { Ok(self) } else { Err(Error::Status(self.status())) }
    }

    /// Its whole body.
    ///
    /// # Errors
    /// [`Error::TooLong`], and nothing of it; [`Error::Exchange`] where it broke off.
    pub async fn body(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.response.chunk().await? {
            if body.len() + chunk.len() > self.max_body {
                return Err(Error::TooLong(self.max_body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The address of `path` below `base`, which may have a path of its own.
#[must_use]
pub fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // An http address always has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests;
