//! A FleetLock server as airlock is one, with its groups in memory instead of etcd.
//!
//! Source: coreos/airlock `internal/server/{http_params,pre_reboot,steady_state}.go` and `internal/lock/semaphore.go`.
//! Words about JSON that it cannot read are ours, not Go's. Steered by [`Server::turn`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The most that is read of a request.
const MAX_BODY: usize = 1024 * 1024;

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Up,
    /// Connections are refused.
    Down,
    /// It answers after this time.
    Slow(Duration),
    /// It answers everything with this status and body, whatever was asked.
    Garbage(u16, String),
}

/// A running server. Dropped, it is gone at once, with all that it knew.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    groups: Groups,
    serving: JoinSet<()>,
    /// Keeps the port while nobody listens on it.
    reserved: Option<TcpSocket>,
}

type Groups = Arc<Mutex<BTreeMap<String, Slots>>>;

/// A group's semaphore.
#[derive(Debug)]
struct Slots {
    total: usize,
    holders: BTreeSet<String>,
}

impl Server {
    /// Starts a server on a free loopback port, with these groups and so many slots in each.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(groups: &[(&str, usize)]) -> io::Result<Self> {
        let slots = |&(name, total): &(&str, usize)| (name.to_owned(), Slots { total, holders: BTreeSet::new() });
        let groups = Arc::new(Mutex::new(groups.iter().map(slots).collect()));
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            groups,
            serving: JoinSet::new(),
            reserved: None,
        };
        server.turn(Mood::Up).await?;
        Ok(server)
    }

    /// Its base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who holds a slot of a group, in order.
    #[must_use]
    pub fn holders(&self, group: &str) -> Vec<String> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(group).map(|slots| slots.holders.iter().cloned().collect()).unwrap_or_default()
    }

    /// Changes its mood. Cuts all connections; who holds what stays.
    ///
    /// # Errors
    /// When its port cannot be bound again.
    pub async fn turn(&mut self, mood: Mood) -> io::Result<()> {
        self.serving.shutdown().await;
        self.reserved = None;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        self.address = socket.local_addr()?;
        if mood == Mood::Down {
            self.reserved = Some(socket);
        } else {
            self.serving.spawn(serve(socket.listen(1024)?, mood, Arc::clone(&self.groups)));
        }
        Ok(())
    }
}

async fn serve(listener: TcpListener, mood: Mood, groups: Groups) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let (mood, groups) = (mood.clone(), Arc::clone(&groups));
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &mood, &groups));
            // A client that goes away is no concern of the server's.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, mood: &Mood, groups: &Groups) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), MAX_BODY).await.map_err(io::Error::other)?;
    match mood {
        Mood::Garbage(status, body) => return Ok(respond(*status, body.clone())),
        Mood::Slow(time) => sleep(*time).await,
        Mood::Up | Mood::Down => {}
    }
    let change = match head.uri.path() {
        "/v1/pre-reboot" => Slots::lock,
        "/v1/steady-state" => Slots::unlock_if_held,
        _ => return Ok(respond(404, "404 page not found\n".to_owned())),
    };
    let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match handle(&Request::from_parts(head, body), &mut groups, change) {
        Ok(()) => Response::default(),
        Err(Refusal { status, kind, value }) => {
            // Go's `http.Error` ends the text with a line feed.
            respond(status, format!("{}\n", json!({ "kind": kind, "value": value })))
        }
    })
}

/// `internal/herrors/herrors.go`
struct Refusal {
    status: u16,
    kind: &'static str,
    value: String,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    client_params: Option<ClientParams>,
}

#[derive(Default, Deserialize)]
struct ClientParams {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    id: Option<String>,
}

type Change = fn(&mut Slots, &str) -> Result<(), String>;

/// The method is not looked at.
fn handle(request: &Request<Bytes>, groups: &mut BTreeMap<String, Slots>, change: Change) -> Result<(), Refusal> {
    let (group, id) = identity(request).map_err(|problem| Refusal {
        status: 400,
        kind: "invalid_client_identity",
        value: format!("failed to validate client identity: {problem}"),
    })?;
    let Some(slots) = groups.get_mut(&group) else {
        return Err(Refusal { status: 400, kind: "unknown_group", value: format!("unknown group {group:?}") });
    };
    change(slots, &id).map_err(|value| Refusal { status: 500, kind: "failed_lock", value })
}

/// `validateIdentity`
fn identity(request: &Request<Bytes>) -> Result<(String, String), String> {
    if request.headers().get("fleet-lock-protocol").is_none_or(|value| value != "true") {
        return Err("wrong 'fleet-lock-protocol' header".to_owned());
    }
    // Go's decoder reads one value and leaves what follows it.
    let mut values = serde_json::Deserializer::from_slice(request.body()).into_iter::<Option<Params>>();
    let params = values.next().ok_or("EOF")?.map_err(|problem| problem.to_string())?;
    let params = params.unwrap_or_default().client_params.unwrap_or_default();
    let group = params.group.filter(|group| !group.is_empty()).ok_or("empty client group")?;
    let id = params.id.filter(|id| !id.is_empty()).ok_or("empty client ID")?;
    Ok((group, id))
}

impl Slots {
    /// `RecursiveLock`
    fn lock(&mut self, id: &str) -> Result<(), String> {
        if !self.holders.contains(id) {
            if self.holders.len() >= self.total {
                return Err(format!("all {} semaphore slots currently locked", self.total));
            }
            self.holders.insert(id.to_owned());
        }
        Ok(())
    }

    /// `UnlockIfHeld`
    #[expect(clippy::unnecessary_wraps, reason = "the other change can fail")]
    fn unlock_if_held(&mut self, id: &str) -> Result<(), String> {
        self.holders.remove(id);
        Ok(())
    }
}

/// As Go's `http.Error` responds.
fn respond(status: u16, body: String) -> Response<Body> {
    let response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header("content-type", "text/plain; charset=utf-8")
        .header("x-content-type-options", "nosniff");
    response.body(body.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
