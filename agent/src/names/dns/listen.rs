//! The sockets that queries come in on, UDP and TCP. Mesh answers go out at once; a relayed query gets a task, or over
//! TCP a place in its connection's task.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::forward::{MAX_TCP, framing};
use super::message::MAX_QUERY;
use super::resolver_state::ResolverState;
use super::responder::{Outcome, Responder};
use super::transport::Transport;
use crate::clients::backoff::Backoff;
use crate::model::publish;

/// How long a TCP client may keep a connection without a query, or leave an answer unread.
const IDLE: Duration = Duration::from_secs(5);
/// How many queries of one TCP connection are under way at a time; further ones wait in the socket.
const PIPELINED: usize = 16;
/// How long to wait after a socket error that would otherwise come again at once (no memory, no descriptors).
const BREATH: Duration = Duration::from_millis(50);
/// Between two attempts to bind.
const BIND_AGAIN: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));

/// Both listeners, on one address and port.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Binds, as often as it takes: the address appears only when the dataplane has made it.
pub(super) async fn bind(listen: SocketAddr, state: &watch::Sender<ResolverState>) -> (Sockets, SocketAddr) {
    let mut delays = BIND_AGAIN.delays();
    loop {
        let error = match bind_both(listen).await {
            Ok((sockets, address)) => {
                info!(%address, "resolver listens for DNS queries");
                state.send_replace(ResolverState::Listening { address, leased: false });
                return (sockets, address);
            }
            Err(error) => error,
        };
        let failing = ResolverState::Failing { listen, error: error.to_string().into() };
        if publish(state, failing, PartialEq::eq) {
            warn!(%listen, %error, "resolver cannot listen for DNS queries; trying again");
        }
        sleep(delays.wait()).await;
    }
}

async fn bind_both(listen: SocketAddr) -> io::Result<(Sockets, SocketAddr)> {
    let tcp = TcpListener::bind(listen).await?;
    // The port is the kernel's choice where the address says 0.
    let address = SocketAddr::new(listen.ip(), tcp.local_addr()?.port());
    let udp = UdpSocket::bind(address).await?;
    Ok((Sockets { udp, tcp }, address))
}

/// Serves datagrams.
pub(super) async fn udp(socket: UdpSocket, responder: &Arc<Responder>) {
    let socket = Arc::new(socket);
    let mut relays = JoinSet::new();
    // A byte more than is read shows what is too large.
    let mut query = Vec::with_capacity(MAX_QUERY + 1);
    loop {
        while relays.try_join_next().is_some() {}
        query.clear();
        let client = match socket.recv_buf_from(&mut query).await {
            Ok((_, client)) => client,
            Err(error) => {
                debug!(%error, "cannot receive a DNS query");
                sleep(BREATH).await;
                continue;
            }
        };
        if query.len() > MAX_QUERY {
            continue;
        }
        match responder.receive(Transport::Udp, &query, client.ip()) {
            Outcome::Silence => {}
            Outcome::Reply(answer) => send(&socket, &answer, client).await,
            Outcome::Relay(relay) => {
                let socket = Arc::clone(&socket);
                relays.spawn(async move {
                    if let Some(answer) = relay.run().await {
                        send(&socket, &answer, client).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        debug!(%client, %error, "cannot send a DNS answer");
    }
}

/// Serves connections; one too many is closed at once.
pub(super) async fn tcp(listener: TcpListener, responder: &Arc<Responder>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                if let Some(permit) = responder.connection(client.ip()) {
                    let responder = Arc::clone(responder);
                    connections.spawn(async move {
                        converse(stream, client.ip(), &responder).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                debug!(%error, "cannot accept a DNS connection");
                sleep(BREATH).await;
            }
        }
    }
}

/// Answers a connection's queries, each as soon as it can be (RFC 7766 6.2.1.1), until the client has closed and has
/// its answers, keeps silent, or breaks the framing.
async fn converse(mut stream: TcpStream, client: IpAddr, responder: &Arc<Responder>) {
    let (input, output) = stream.split();
    let mut queries = framing(MAX_QUERY).new_read(input);
    let mut answers = framing(MAX_TCP).new_write(output);
    let mut relays = FuturesUnordered::new();
    let mut open = true;
    while open || !relays.is_empty() {
        let answer = tokio::select! {
            query = queries.next(), if open && relays.len() < PIPELINED => match query {
                Some(Ok(query)) => match responder.receive(Transport::Tcp, &query, client) {
                    Outcome::Silence => return,
                    Outcome::Reply(answer) => Some(answer),
                    Outcome::Relay(relay) => {
                        relays.push(relay.run());
                        None
                    }
                },
                Some(Err(_)) => return,
                None => {
                    open = false;
                    None
                }
            },
            Some(answer) = relays.next() => answer,
            () = sleep(IDLE) => return,
        };
        if let Some(answer) = answer
            && !matches!(timeout(IDLE, answers.send(answer.as_slice())).await, Ok(Ok(())))
        {
            return;
        }
    }
}
