//! A query's way through the resolver: answered from the names, or relayed within limits, and counted.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use tokio::sync::watch;

use super::forward::Forwarder;
use super::limit::{ClientLimit, Permit};
use super::message::{self, ParsedQuery, QueryDecision};
use super::metrics::{AnswerKind, ResolverMetrics};
use super::transport::Transport;
use crate::model::Names;

/// How many queries are forwarded at a time, for everyone and for one client.
const FORWARDED: (usize, usize) = (512, 128);
/// How many TCP connections are held at a time, by everyone and by one client.
const CONNECTIONS: (usize, usize) = (128, 32);

/// What both listeners share.
#[derive(Debug)]
pub(super) struct Responder {
    names: watch::Receiver<Option<Names>>,
    forwarder: Forwarder,
    metrics: ResolverMetrics,
    forwarded: ClientLimit,
    connections: ClientLimit,
}

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum QueryOutcome {
    /// Nothing is sent.
    Silence,
    /// This is sent at once.
    Reply(Vec<u8>),
    /// An upstream server is asked.
    Relay(Relay),
}

impl Responder {
    pub(super) fn new(names: watch::Receiver<Option<Names>>, forwarder: Forwarder, metrics: ResolverMetrics) -> Self {
        let limit = |(total, each)| ClientLimit::new(total, each);
        Self { names, forwarder, metrics, forwarded: limit(FORWARDED), connections: limit(CONNECTIONS) }
    }

    /// Waits until every query that was forwarded has its answer.
    pub(super) async fn idle(&self) {
        self.forwarded.idle().await;
    }

    /// Room for one more TCP connection of this client.
    pub(super) fn connection(&self, client: IpAddr) -> Option<Permit> {
        self.connections.enter(client)
    }

    /// Takes a message that came.
    pub(super) fn receive(self: &Arc<Self>, transport: Transport, bytes: &[u8], client: IpAddr) -> QueryOutcome {
        let names = self.names.borrow().clone();
        match message::decide(bytes, names.as_ref()) {
            QueryDecision::Ignore => QueryOutcome::Silence,
            QueryDecision::Reply(bytes, kind, code) => {
                self.metrics.count(kind, code);
                QueryOutcome::Reply(bytes)
            }
            QueryDecision::Lease(asked) => {
                let good = names.is_some() && self.forwarder.able();
                let code = if good { ResponseCode::NoError } else { ResponseCode::ServFail };
                asked.bare(code).map_or(QueryOutcome::Silence, QueryOutcome::Reply)
            }
            QueryDecision::Forward(asked) => match self.forwarded.enter(client) {
                Some(permit) => {
                    let query = bytes.to_vec();
                    QueryOutcome::Relay(Relay { responder: Arc::clone(self), transport, asked, query, _permit: permit })
                }
                None => self.fail(&asked, AnswerKind::Overload).map_or(QueryOutcome::Silence, QueryOutcome::Reply),
            },
        }
    }

    fn fail(&self, asked: &ParsedQuery, kind: AnswerKind) -> Option<Vec<u8>> {
        self.metrics.count(kind, ResponseCode::ServFail);
        asked.bare(ResponseCode::ServFail)
    }
}

/// A query on its way to an upstream server.
#[derive(Debug)]
pub(super) struct Relay {
    responder: Arc<Responder>,
    transport: Transport,
    asked: ParsedQuery,
    query: Vec<u8>,
    _permit: Permit,
}

impl Relay {
    /// What to send to the client.
    pub(super) async fn run(mut self) -> Option<Vec<u8>> {
        let Self { responder, transport, asked, query, .. } = &mut self;
        match responder.forwarder.ask(*transport, asked, query).await {
            Some((answer, code)) => {
                responder.metrics.count(AnswerKind::Forwarded, code);
                asked.fit(*transport, answer, code)
            }
            None => responder.fail(asked, AnswerKind::Unanswered),
        }
    }
}
