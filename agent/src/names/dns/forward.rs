//! Asks upstream servers. Queries and answers pass as bytes, so that EDNS, the DO bit and types nobody here knows
//! survive; only the id is another one on the way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hickory_proto::op::ResponseCode;
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::length_delimited::{Builder, LengthDelimitedCodec};
use tracing::debug;

use super::message::{self, MAX_UDP_ANSWER, ParsedQuery};
use super::transport::Transport;
use crate::model::NameServers;

/// How long one server may take.
const EACH: Duration = Duration::from_secs(2);
/// How long all attempts together may take: less than clients wait (5 s, resolv.conf(5)), and than conntrack keeps a
/// captured flow without an answer.
const TOTAL: Duration = Duration::from_millis(4500);
/// How often the list of servers is gone through, since a datagram may get lost.
const ROUNDS: usize = 2;

/// Largest message that TCP carries, in bytes.
pub(super) const MAX_TCP: usize = u16::MAX as usize;

/// An upstream's answer, under the client's id, and its response code.
pub(super) type UpstreamAnswer = (Vec<u8>, ResponseCode);

/// The way to the upstream servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    servers: watch::Receiver<NameServers>,
    mark: Option<u32>,
}

impl Forwarder {
    pub(super) fn new(servers: watch::Receiver<NameServers>, mark: Option<u32>) -> Self {
        Self { servers, mark }
    }

    /// Whether queries can be forwarded at all: servers are known, and sockets to them can be made and marked. Says
    /// nothing about the servers' health, which clients would suffer from without meshdog too.
    pub(super) fn able(&self) -> bool {
        self.servers.borrow().first().is_some_and(|&server| self.socket(server, Type::DGRAM).is_ok())
    }

    /// Asks one server after the other. When some only said that they cannot answer, the first such answer; `None`
    /// when all kept silent.
    pub(super) async fn ask(
        &self,
        transport: Transport,
        asked: &ParsedQuery,
        query: &mut [u8],
    ) -> Option<UpstreamAnswer> {
        let servers = self.servers.borrow().clone();
        let deadline = Instant::now() + TOTAL;
        let mut refusal = None;
        for _ in 0..ROUNDS {
            for &server in servers.iter() {
                let until = deadline.min(Instant::now() + EACH);
                match timeout_at(until, self.exchange(transport, server, asked, query)).await {
                    Ok(Ok((answer, code))) if message::is_refusal(code) => refusal = refusal.or(Some((answer, code))),
                    Ok(Ok(answer)) => return Some(answer),
                    Ok(Err(error)) => debug!(%server, ?transport, %error, "name server failed"),
                    Err(_) => debug!(%server, ?transport, "name server kept silent"),
                }
            }
            if refusal.is_some() || Instant::now() >= deadline {
                break;
            }
        }
        refusal
    }

    /// One attempt, under a random id and from a random port.
    async fn exchange(
        &self,
        transport: Transport,
        server: SocketAddr,
        asked: &ParsedQuery,
        query: &mut [u8],
    ) -> io::Result<UpstreamAnswer> {
        let id = rand::random();
        message::set_id(query, id);
        let (mut answer, code) = match transport {
            Transport::Udp => self.over_udp(server, asked, id, query).await?,
            Transport::Tcp => self.over_tcp(server, asked, id, query).await?,
        };
        message::set_id(&mut answer, asked.id());
        Ok((answer, code))
    }

    async fn over_udp(
        &self,
        server: SocketAddr,
        asked: &ParsedQuery,
        id: u16,
        query: &[u8],
    ) -> io::Result<UpstreamAnswer> {
        let socket = self.socket(server, Type::DGRAM)?;
        // Connected: the kernel picks a random port and lets only this server's datagrams in.
        socket.connect(&server.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.send(query).await?;
        loop {
            // ICMP's word that nobody listens is an error without anything to read.
            if socket.ready(Interest::READABLE | Interest::ERROR).await?.is_error() {
                return Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
            }
            // Room is made once there is something to read. A byte more than is passed on shows what is too large.
            let mut answer = Vec::with_capacity(MAX_UDP_ANSWER + 1);
            match socket.try_recv_buf(&mut answer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Some(code) = asked.answered_by(&answer, id) {
                return Ok((answer, code));
            }
        }
    }

    async fn over_tcp(
        &self,
        server: SocketAddr,
        asked: &ParsedQuery,
        id: u16,
        query: &[u8],
    ) -> io::Result<UpstreamAnswer> {
        let socket = TcpSocket::from_std_stream(self.socket(server, Type::STREAM)?.into());
        let mut frames = framing(MAX_TCP).new_framed(socket.connect(server).await?);
        frames.send(query).await?;
        while let Some(answer) = frames.next().await {
            let answer = answer?;
            if let Some(code) = asked.answered_by(&answer, id) {
                return Ok((answer.into(), code));
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn socket(&self, server: SocketAddr, kind: Type) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(server), kind, None)?;
        socket.set_nonblocking(true)?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        Ok(socket)
    }
}

/// DNS over TCP: each message behind its length in two bytes (RFC 1035 4.2.2). One over `max` bytes is an error.
pub(super) fn framing(max: usize) -> Builder {
    let mut framing = LengthDelimitedCodec::builder();
    framing.length_field_type::<u16>().max_frame_length(max);
    framing
}
