//! The client of one socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect;
use serde::de::DeserializeOwned;

use crate::error::{Error, Route, one_line};
use crate::{Os, Settings, UpdateAction, UpdateStatus};

/// The largest answer that is read, in bytes. A whole settings tree is about 2 kB; a change is refused above 2 MiB.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Long enough for the host to start its updater, which answers once it has forked.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of the host API. Cheap to clone. It connects anew for every request, so it outlives restarts of the server
/// as long as `socket` is seen through a directory (a bind mount of the socket file itself goes stale).
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: Arc<Path>,
}

impl Client {
    /// A client for the API on this Unix socket; `/run/api.sock` on the host. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Client`] where no HTTP client can be made at all.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let socket = socket.into();
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A connection costs microseconds; one that is kept may be found dead, since the server restarts at will
            // and closes idle ones after five seconds.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build();
        match http {
            Ok(http) => Ok(Self { http, socket: socket.into() }),
            Err(source) => Err(Error::Client { socket, source }),
        }
    }

    /// The whole settings tree (`GET /settings`).
    ///
    /// # Errors
    /// Any of [`Error`]; 404 before the host's first commit at boot.
    pub async fn settings(&self) -> Result<Settings, Error> {
        self.read(Route::get("/settings"), None).await
    }

    /// The settings under these full names, such as `settings.ecs.cluster` (`GET /settings?keys=`). Names that the host
    /// has no value for are left out. Every name must be a leaf: the host answers a whole section with 500.
    ///
    /// # Errors
    /// Any of [`Error`]; 400 for an empty list or a malformed name.
    pub async fn settings_by_keys(&self, keys: &[&str]) -> Result<Settings, Error> {
        self.read(Route::get("/settings"), Some(("keys", &keys.join(",")))).await
    }

    /// The settings whose names begin so (`GET /settings?prefix=`); the host puts `settings.` in front itself. Nothing
    /// matches: an empty tree.
    ///
    /// # Errors
    /// Any of [`Error`]; 400 for an empty prefix.
    pub async fn settings_by_prefix(&self, prefix: &str) -> Result<Settings, Error> {
        self.read(Route::get("/settings"), Some(("prefix", prefix))).await
    }

    /// What runs (`GET /os`).
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn os(&self) -> Result<Os, Error> {
        self.read(Route::get("/os"), None).await
    }

    /// How far an update is (`GET /updates/status`).
    ///
    /// # Errors
    /// Any of [`Error`]; see [`Error::is_uninitialized`] and [`Error::is_busy`].
    pub async fn updates_status(&self) -> Result<UpdateStatus, Error> {
        self.read(Route::get("/updates/status"), None).await
    }

    /// Asks for an update action. `Ok` means that it was accepted, not that it is done: it is over when the status
    /// shows a [`Command`](crate::Command) of this kind with another timestamp than before. That may never happen (a
    /// program that could not start leaves no trace), so a poller needs a deadline.
    ///
    /// # Errors
    /// Any of [`Error`]; see [`Error::is_busy`] and [`Error::is_wrong_state`]. 404: the version that was chosen, or the
    /// image that was staged, is gone.
    pub async fn act(&self, action: UpdateAction) -> Result<(), Error> {
        self.send(action.route(), None, None).await.map(drop)
    }

    /// Reboots the host (`POST /actions/reboot`). Not refused while an update action is under way.
    ///
    /// # Errors
    /// Any of [`Error`]; 500 where systemd refused, for instance because something inhibits it. After
    /// [`Error::NoAnswer`] the reboot may well be on its way.
    pub async fn reboot(&self) -> Result<(), Error> {
        self.send(Route::post("/actions/reboot"), None, None).await.map(drop)
    }

    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        route: Route,
        query: Option<(&str, &str)>,
    ) -> Result<T, Error> {
        let body = self.send(route.clone(), query, None).await?;
        serde_json::from_slice(&body).map_err(|source| Error::Shape { route, source })
    }

    /// One request, and its answer's body if the answer is a success.
    pub(crate) async fn send(
        &self,
        route: Route,
        query: Option<(&str, &str)>,
        json: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Error> {
        let mut request = self.http.request(route.method.clone(), self.url(&route, query));
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        let no_answer = |source| Error::NoAnswer { route: route.clone(), socket: self.socket.to_path_buf(), source };
        let mut response = request.send().await.map_err(no_answer)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::TooLarge { route });
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        if status.is_success() { Ok(body) } else { Err(Error::Refused { route, status, text: one_line(&body) }) }
    }

    fn url(&self, route: &Route, query: Option<(&str, &str)>) -> String {
        let query = query.map(|(name, value)| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("?{name}={value}")
        });
        format!("http://localhost{}{}", route.path, query.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
