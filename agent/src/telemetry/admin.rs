//! The admin socket and the metrics port: HTTP/1, one request a connection.
//!
//! Owns both listeners. Answers (`api`) are computed away from the threads that the mesh runs on.
//! Whoever may open the socket may ask anything, and steer the node's update (`commands`): only that, only by POST, and
//! only there. Nothing that is asked by GET changes anything.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::net::Listener;
use tokio_util::sync::CancellationToken;

use self::answer::{HttpAnswer, text};
pub use self::api::Api;
use self::api::ListenerKind;
use self::commands::CommandPath;

mod answer;
mod api;
pub(crate) mod commands;

/// Connections served at once by one listener; more wait in its backlog.
const MAX_CONNECTIONS: usize = 64;
/// A connection's whole life, from accept to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// Between two attempts to bind the metrics port.
const BIND_AGAIN: Duration = Duration::from_secs(5);
/// Between two attempts to accept, after one failed (mostly for want of file descriptors).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long an agent that may hold the socket has to be gone.
const IN_USE: Duration = Duration::from_secs(1);

/// Why the admin socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Something answers at that path already.
    #[error("another agent answers at the admin socket {0}; stop it, or set paths.admin_socket")]
    InUse(PathBuf),
    /// The socket or its directory cannot be made.
    #[error("admin socket {path} cannot be made; make its directory writable, or set paths.admin_socket")]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The admin socket, bound. Its file goes when this goes, unless another agent's has taken its place.
#[derive(Debug)]
pub struct Admin {
    listener: UnixListener,
    file: SocketFile,
}

impl Admin {
    /// Binds the admin socket for its owner alone (mode 0600), making its directory where there is none. A socket file
    /// that nobody answers at is replaced in one step: the path never leads nowhere, nor to a socket with other rights.
    ///
    /// # Errors
    /// When another agent answers there, or the file system refuses.
    pub async fn bind(path: &Path) -> Result<Self, AdminError> {
        match timeout(IN_USE, abandoned(path)).await {
            Ok(()) => Self::replace(path).map_err(|source| AdminError::Bind { path: path.to_owned(), source }),
            Err(_) => Err(AdminError::InUse(path.to_owned())),
        }
    }

    fn replace(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&new)?.ino();
        fs::rename(&new, path)?;
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), inode } })
    }

    /// Answers until told to stop, then removes the socket.
    pub async fn serve(self, api: Arc<Api>, stop: CancellationToken) {
        let Self { listener, file } = self;
        serve(listener, ListenerKind::Admin, api, stop).await;
        drop(file);
    }
}

/// Returns once nobody serves that socket. An agent that was killed accepts connections until its last thread is gone,
/// and then drops them; one that lives waits for a request.
async fn abandoned(path: &Path) {
    while let Ok(mut stream) = UnixStream::connect(path).await {
        let _ = stream.read(&mut [0]).await;
    }
}

/// The file of a bound socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Serves `/metrics` on a TCP address until told to stop. An address that is taken is tried again every 5 s: metrics
/// are worth waiting for, not worth dying for.
pub async fn serve_metrics(address: SocketAddr, api: Arc<Api>, stop: CancellationToken) {
    let bind = async {
        let mut refused = false;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(error) if !refused => {
                    tracing::warn!(%address, %error, "cannot bind the metrics port; trying again; check telemetry.metrics");
                    refused = true;
                }
                Err(_) => {}
            }
            sleep(BIND_AGAIN).await;
        }
    };
    if let Some(listener) = stop.run_until_cancelled(bind).await {
        tracing::info!(%address, "metrics port serves Prometheus metrics");
        serve(listener, ListenerKind::Metrics, api, stop).await;
    }
}

async fn serve<L>(mut listener: L, listener_kind: ListenerKind, api: Arc<Api>, stop: CancellationToken)
where
    L: Listener,
    L::Io: Send + Unpin + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = async {
        let mut failing = false;
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((io, _)) => {
                    failing = false;
                    let (api, stop) = (Arc::clone(&api), stop.clone());
                    tokio::spawn(async move {
                        let _place = place;
                        stop.run_until_cancelled(timeout(TIMEOUT, connection(io, listener_kind, api))).await
                    });
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(listener = ?listener_kind, %error, "cannot accept connections; trying again");
                    }
                    failing = true;
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

async fn connection(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    listener_kind: ListenerKind,
    api: Arc<Api>,
) {
    let service = service_fn(|request| respond(request, listener_kind, Arc::clone(&api)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(listener = ?listener_kind, %error, "a client went away or sent no HTTP");
    }
}

/// Carries out a command, or else computes the answer on a thread of its own: a large mesh takes milliseconds to write
/// down.
async fn respond(
    request: hyper::Request<hyper::body::Incoming>,
    listener_kind: ListenerKind,
    api: Arc<Api>,
) -> Result<HttpAnswer, Infallible> {
    let (head, _unread) = request.into_parts();
    if let Some(command) = CommandPath::at(head.uri.path()).filter(|_| listener_kind == ListenerKind::Admin) {
        return Ok(command.answer(&api, &head.method, &head.uri).await);
    }
    let answer = tokio::task::spawn_blocking(move || api.answer(listener_kind, &head.method, &head.uri)).await;
    Ok(answer.unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("no answer: {error}\n"))))
}

#[cfg(test)]
pub(crate) mod tests;
