//! A query's way through the resolver: answered from the names, or relayed within its client's share, and counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use imbl::OrdSet;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::asker::{Asker, Client, Place};
use super::forward::Forwarder;
use super::limit::{ClientLimit, Permit, Shares, Trickle};
use super::message::{self, QueryDecision};
use super::metrics::{AnswerKind, ResolverMetrics};
use super::resolver_config::{ResolverConfig, ResolverInputs};
use super::unreachable::{Code, Unreachable};
use crate::config::Auto;

/// How many datagrams are relayed at a time. Each has a socket.
const RELAYED: Shares = Shares { total: 512, each: 64, unknown: 64 };
/// How many TCP connections are held at a time. Each has up to two sockets.
const CONNECTIONS: Shares = Shares { total: 128, each: 32, unknown: 8 };
/// How long a name server's answer is waited for: longer than clients wait by themselves (5 s, resolv.conf(5)).
const ANSWER: Duration = Duration::from_secs(10);

/// What all listeners share.
#[derive(Debug)]
pub(super) struct Responder {
    config: ResolverConfig,
    inputs: ResolverInputs,
    clients: watch::Receiver<OrdSet<IpAddr>>,
    pub(super) forwarder: Forwarder,
    pub(super) unreachable: Unreachable,
    pub(super) metrics: ResolverMetrics,
    relayed: ClientLimit,
    connections: ClientLimit,
    unknown: Trickle,
}

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum QueryOutcome {
    /// Nothing is sent.
    Silence,
    /// This is sent at once.
    Reply(Vec<u8>),
    /// The server that was asked is to say.
    Relay,
}

impl Responder {
    /// `clients`: the addresses of containers that Docker knows.
    pub(super) fn new(
        config: ResolverConfig,
        inputs: ResolverInputs,
        clients: watch::Receiver<OrdSet<IpAddr>>,
        metrics: ResolverMetrics,
    ) -> Self {
        Self {
            forwarder: Forwarder::new(config.mark),
            // Whose queries carry no mark, as in tests, has no capture either that could translate the message.
            unreachable: if config.mark.is_some() { Unreachable::open() } else { Unreachable::mute() },
            config,
            inputs,
            clients,
            metrics,
            relayed: ClientLimit::new(RELAYED),
            connections: ClientLimit::new(CONNECTIONS),
            unknown: Trickle::new(),
        }
    }

    /// Waits until every datagram that was relayed has its answer, or is given up.
    pub(super) async fn idle(&self) {
        self.relayed.idle().await;
    }

    /// Who a message comes from.
    pub(super) fn client(&self, place: Place, address: IpAddr) -> Client {
        let itself = address == self.config.listen.ip();
        match place.asker {
            Asker::Host => Client::Host,
            Asker::Container if itself || self.clients.borrow().contains(&address) => Client::Known(address),
            Asker::Container => Client::Unknown,
        }
    }

    /// The addresses of containers that Docker knows, as they change.
    pub(super) fn clients(&self) -> watch::Receiver<OrdSet<IpAddr>> {
        self.clients.clone()
    }

    /// Whether a datagram of this client is read at once.
    pub(super) fn reads(&self, client: Client) -> bool {
        client != Client::Unknown || self.unknown.admits(Instant::now())
    }

    /// Counts datagrams for which there is no room.
    pub(super) fn give_up(&self, count: usize) {
        (0..count).for_each(|_| self.metrics.count(AnswerKind::Overload, None));
    }

    /// Room for one more TCP connection of this client.
    pub(super) fn connection(&self, client: Client) -> Option<Permit> {
        self.connections.enter(client)
    }

    /// The server whose queries come in at this place.
    pub(super) fn server(&self, place: Place) -> Option<SocketAddr> {
        let servers = self.inputs.servers.borrow();
        match (place.asker, &self.config.upstream) {
            (Asker::Container, _) => servers.containers.get(place.index).copied(),
            (Asker::Host, Auto::Auto) => servers.host.get(place.index).copied(),
            (Asker::Host, Auto::Set(given)) => given.iter().cycle().nth(place.index).copied(),
        }
    }

    /// Takes a message that came.
    pub(super) fn receive(&self, place: Place, bytes: &[u8]) -> QueryOutcome {
        let served = self.inputs.served.borrow().clone();
        match message::decide(bytes, place.asker, &self.config.zones, served.as_ref()) {
            QueryDecision::Ignore => QueryOutcome::Silence,
            QueryDecision::Reply(bytes, kind, code) => {
                self.metrics.count(kind, Some(code));
                QueryOutcome::Reply(bytes)
            }
            QueryDecision::Lease(asked) => {
                let good = served.is_some() && self.forwarder.able();
                let code = if good { ResponseCode::NoError } else { ResponseCode::ServFail };
                asked.bare(code).map_or(QueryOutcome::Silence, QueryOutcome::Reply)
            }
            QueryDecision::Relay => QueryOutcome::Relay,
        }
    }

    /// Room for a datagram to be relayed, and the server to ask; `None` where there is none.
    pub(super) fn relay(self: &Arc<Self>, place: Place, client: Client, query: &[u8]) -> Option<Relay> {
        let server = self.server(place)?;
        let permit = self.relayed.enter(client)?;
        Some(Relay { responder: Arc::clone(self), server, query: query.to_vec(), permit })
    }

    /// Counts an answer of a server that was asked.
    pub(super) fn relayed(&self, answer: &[u8]) {
        self.metrics.count(AnswerKind::Forwarded, Some(message::code(answer)));
    }
}

/// What came of relaying a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RelayOutcome {
    /// This is sent.
    Answer(Vec<u8>),
    /// The client is told that its server cannot be reached; where that cannot be done, this is sent.
    Unreachable(Code, Option<Vec<u8>>),
    /// Nothing is sent.
    Silence,
}

/// A datagram on its way to the server that was asked.
#[derive(Debug)]
pub(super) struct Relay {
    responder: Arc<Responder>,
    server: SocketAddr,
    query: Vec<u8>,
    permit: Permit,
}

impl Relay {
    /// What to send to the client: the server's word, or that it cannot be reached; nothing where it is silent.
    pub(super) async fn run(self) -> RelayOutcome {
        let Self { responder, server, query, permit } = self;
        let head = query.clone();
        let answer = tokio::select! {
            biased;
            () = permit.evicted() => {
                responder.metrics.count(AnswerKind::Overload, None);
                return RelayOutcome::Silence;
            }
            answer = timeout(ANSWER, responder.forwarder.ask(server, query)) => answer,
        };
        match answer {
            Ok(Ok(answer)) => {
                responder.relayed(&answer);
                RelayOutcome::Answer(answer)
            }
            Ok(Err(error)) => {
                debug!(%server, %error, "name server cannot be reached");
                responder.metrics.count(AnswerKind::Unanswered, Some(ResponseCode::ServFail));
                let failure = message::unreachable(&head);
                match Code::of(&error) {
                    Some(code) => RelayOutcome::Unreachable(code, failure),
                    None => failure.map_or(RelayOutcome::Silence, RelayOutcome::Answer),
                }
            }
            Err(_) => {
                responder.metrics.count(AnswerKind::Unanswered, None);
                RelayOutcome::Silence
            }
        }
    }
}
