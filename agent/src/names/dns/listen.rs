//! The sockets that queries come in on, UDP and TCP, one of each for every captured name server. Mesh answers go out at
//! once; a relayed datagram gets a task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::asker::{Asker, Client, Place};
use super::conversation::converse;
use super::forward::MAX_MESSAGE;
use super::resolver_config::ResolverConfig;
use super::resolver_state::ResolverState;
use super::responder::{QueryOutcome, RelayOutcome, Responder};
use super::strangers::Strangers;
use crate::clients::backoff::Backoff;
use crate::model::{MAX_CAPTURED, publish};

/// How long to wait after a socket error that would otherwise come again at once (no memory, no descriptors).
const BREATH: Duration = Duration::from_millis(50);
/// Between two attempts to bind.
const BIND_AGAIN: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
/// What a UDP socket may hold each way, in bytes: as much as anybody may ask for (`net.core.wmem_max`).
const BUFFER: usize = 212_992;
/// The same where the agent is privileged: answers to addresses that nobody has wait for seconds, and a flood goes on
/// while a busy machine does not let the agent run.
const LARGE_BUFFER: usize = 4 << 20;

/// Both listeners of one place, on one address and port.
#[derive(Debug)]
pub(super) struct Sockets {
    place: Place,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Binds, as often as it takes: the address appears only when the dataplane has made it. Gives the listeners and the
/// first one's address.
pub(super) async fn bind(config: &ResolverConfig, state: &watch::Sender<ResolverState>) -> (Vec<Sockets>, SocketAddr) {
    let listen = config.listen;
    let mut delays = BIND_AGAIN.delays();
    loop {
        let error = match bind_all(config).await {
            Ok((sockets, address)) => {
                info!(%address, "resolver listens for DNS queries");
                state.send_replace(ResolverState::Listening { address, paths: None });
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

async fn bind_all(config: &ResolverConfig) -> io::Result<(Vec<Sockets>, SocketAddr)> {
    let askers = [Asker::Container, Asker::Host];
    let of = |asker| (0..usize::from(MAX_CAPTURED)).map(move |index| Place { asker, index });
    let places = askers.into_iter().take(if config.host { 2 } else { 1 }).flat_map(of);
    let (mut all, mut first) = (Vec::new(), config.listen);
    for (place, offset) in places.zip(0_u16..) {
        // The port is the kernel's choice where the address says 0.
        let port = if config.listen.port() == 0 { 0 } else { config.listen.port().saturating_add(offset) };
        let tcp = TcpListener::bind((config.listen.ip(), port)).await?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).await?;
        let buffers = SockRef::from(&udp);
        if setsockopt(&udp, RcvBufForce, &LARGE_BUFFER).is_err() {
            buffers.set_recv_buffer_size(BUFFER)?;
        }
        if setsockopt(&udp, SndBufForce, &LARGE_BUFFER).is_err() {
            buffers.set_send_buffer_size(BUFFER)?;
        }
        if offset == 0 {
            first = address;
        }
        all.push(Sockets { place, udp, tcp });
    }
    Ok((all, first))
}

/// Serves at every place. Never returns; all ends with it.
pub(super) async fn serve(all: Vec<Sockets>, responder: &Arc<Responder>) {
    let mut listeners = JoinSet::new();
    for Sockets { place, udp, tcp } in all {
        listeners.spawn(serve_udp(udp, place, Arc::clone(responder)));
        listeners.spawn(serve_tcp(tcp, place, Arc::clone(responder)));
    }
    while listeners.join_next().await.is_some() {}
}

async fn serve_udp(socket: UdpSocket, place: Place, responder: Arc<Responder>) {
    let mut clients = responder.clients();
    let (relays, strangers) = (JoinSet::new(), Strangers::default());
    let mut datagrams = Datagrams { socket: Arc::new(socket), place, responder, relays, strangers };
    let mut query = Vec::with_capacity(MAX_MESSAGE);
    loop {
        while datagrams.relays.try_join_next().is_some() {}
        query.clear();
        let received = tokio::select! {
            Ok(()) = clients.changed() => {
                clients.mark_unchanged();
                datagrams.told_of_clients();
                continue;
            }
            received = datagrams.socket.recv_buf_from(&mut query) => received,
        };
        match received {
            Ok((_, address)) => datagrams.take(address, &query),
            Err(error) => {
                debug!(%error, "cannot receive a DNS query");
                sleep(BREATH).await;
            }
        }
    }
}

/// What has come in by datagram at a place.
#[derive(Debug)]
struct Datagrams {
    socket: Arc<UdpSocket>,
    place: Place,
    responder: Arc<Responder>,
    relays: JoinSet<()>,
    strangers: Strangers,
}

impl Datagrams {
    fn take(&mut self, address: SocketAddr, query: &[u8]) {
        let client = self.responder.client(self.place, address.ip());
        if !self.responder.reads(client) {
            return self.keep(address, query);
        }
        match self.responder.receive(self.place, query) {
            QueryOutcome::Silence => {}
            QueryOutcome::Reply(answer) => send(&self.socket, &answer, address),
            QueryOutcome::Relay => match self.responder.relay(self.place, client, query) {
                Some(relay) => {
                    let (socket, responder) = (Arc::clone(&self.socket), Arc::clone(&self.responder));
                    let length = query.len();
                    self.relays.spawn(async move { tell(&socket, &responder, (address, length), relay.run().await) });
                }
                None if client == Client::Unknown => self.keep(address, query),
                None => self.responder.give_up(1),
            },
        }
    }

    fn keep(&mut self, address: SocketAddr, query: &[u8]) {
        self.responder.give_up(self.strangers.keep(address, query, Instant::now()));
    }

    /// Docker has told of containers: what they have asked already is taken.
    fn told_of_clients(&mut self) {
        let (responder, place) = (&self.responder, self.place);
        let known = |address| responder.client(place, address) != Client::Unknown;
        let (told, given_up) = self.strangers.told_of(known, Instant::now());
        self.responder.give_up(given_up);
        for (address, query) in told {
            self.take(address, &query);
        }
    }
}

/// Passes on what came of a relayed datagram: to whom it came from, and how long it was.
fn tell(socket: &UdpSocket, responder: &Responder, (client, length): (SocketAddr, usize), outcome: RelayOutcome) {
    match outcome {
        RelayOutcome::Answer(answer) => send(socket, &answer, client),
        RelayOutcome::Unreachable(code, failure) => {
            let asked = socket.local_addr();
            let told = asked.is_ok_and(|asked| responder.unreachable.tell(code, client, asked, length));
            if let Some(failure) = failure.filter(|_| !told) {
                send(socket, &failure, client);
            }
        }
        RelayOutcome::Silence => {}
    }
}

/// Sends without waiting: nobody is held up by an address that does not take its answers.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, client) {
        debug!(%client, %error, "cannot send a DNS answer");
    }
}

/// Serves connections; where there is no room, one is closed at once.
async fn serve_tcp(listener: TcpListener, place: Place, responder: Arc<Responder>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, address)) => {
                let client = responder.client(place, address.ip());
                if let Some(permit) = responder.connection(client) {
                    let responder = Arc::clone(&responder);
                    connections.spawn(async move {
                        tokio::select! {
                            () = permit.evicted() => {}
                            () = converse(stream, place, &responder) => {}
                        }
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
