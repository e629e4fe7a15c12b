//! Listeners: the host API's socket, which can be made to go away in every way a real one does, and loopback ports.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::state::{Asked, Shared};
use super::{api, imds, introspection};

/// Idle connections and unfinished headers are cut after this long, as actix-web does on a real host.
const IDLE: Duration = Duration::from_secs(5);

/// The most that is read of a request at all.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Who answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// The host API.
    #[default]
    Api,
    /// The instance metadata service.
    Imds,
    /// The ECS agent's introspection API.
    Ecs,
}

/// How the host API is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It answers.
    Up,
    /// Stopped by SIGTERM: no socket.
    Away,
    /// Killed: the socket's file is there, nobody listens.
    Dead,
    /// It takes connections and never answers.
    Hung,
}

/// Keeps the host API's socket as present as is wanted.
pub(super) async fn keep(socket: PathBuf, state: Shared) {
    let (mut wanted, actual) = state.presence();
    loop {
        let presence = *wanted.borrow_and_update();
        match take_up(&socket, presence) {
            Ok(None) => {
                let _ = actual.send_replace(Ok(presence));
                let _ = wanted.changed().await;
            }
            Ok(Some(listener)) => {
                let _ = actual.send_replace(Ok(presence));
                tokio::select! {
                    () = listen(listener, presence, state.clone()) => {}
                    _ = wanted.changed() => {}
                }
            }
            Err(error) => {
                let _ = actual.send_replace(Err(format!("{}: {error}", socket.display())));
                let _ = wanted.changed().await;
            }
        }
    }
}

/// Brings the socket's file into the state that goes with a presence.
fn take_up(socket: &Path, presence: Presence) -> io::Result<Option<UnixListener>> {
    if presence == Presence::Dead {
        return Ok(None);
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if presence == Presence::Away {
        return Ok(None);
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    Ok(Some(listener))
}

async fn listen(mut listener: UnixListener, presence: Presence, state: Shared) {
    if presence == Presence::Up {
        return serve(listener, Server::Api, state).await;
    }
    let mut held = Vec::new();
    loop {
        held.push(Listener::accept(&mut listener).await);
    }
}

/// Answers for one of the servers until dropped, which cuts its connections.
pub(super) async fn serve<L: Listener>(mut listener: L, server: Server, state: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, server, &state));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(IDLE);
            // A client that goes away is no concern of the host's.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, server: Server, state: &Shared) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), MAX_BODY).await.map_err(io::Error::other)?;
    let request = Request::from_parts(head, body);
    let mut asked = Asked {
        at: Timestamp::now(),
        server,
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        body: String::from_utf8_lossy(request.body()).into_owned(),
        status: 0,
    };
    let fault = state.lock().fault(server, request.uri().path());
    if let Some(fault) = &fault {
        sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    let answer = match fault.and_then(|fault| fault.status.map(|status| (status, fault.text))) {
        Some((status, text)) => respond(status, None, text),
        None => dispatch(&request, server, state).await,
    };
    asked.status = answer.status().as_u16();
    state.lock().remember(asked);
    Ok(answer)
}

async fn dispatch(request: &Request<Bytes>, server: Server, state: &Shared) -> Response<Body> {
    match server {
        Server::Api => api::answer(request, state).await,
        Server::Imds => imds::answer(request, state),
        Server::Ecs => introspection::answer(request, state).await,
    }
}

/// A response; without a content type where none is given.
pub(super) fn respond(status: u16, content_type: Option<&str>, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    if let Some(content_type) = content_type {
        response = response.header("content-type", content_type);
    }
    response.body(body.into()).unwrap_or_default()
}

/// A query's parameters; of those with one name the last counts.
pub(super) fn query(request: &Request<Bytes>) -> std::collections::HashMap<String, String> {
    axum::extract::Query::try_from_uri(request.uri()).map(|query| query.0).unwrap_or_default()
}
