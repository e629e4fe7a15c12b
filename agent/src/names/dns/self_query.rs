//! Queries of the agent's own: does the resolver answer, and what?

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, RecordType};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, UdpSocket};

use super::forward::framing;
use super::message::LEASE_NAME;
use super::transport::Transport;
use crate::dataplane::netns::Netns;
use crate::model::{AliasName, Family};

/// Queries of the agent's own.
#[derive(Debug)]
pub struct SelfQuery {
    address: SocketAddr,
    /// The packet mark by which the kernel lets the agent itself reach the listeners, which refuse strangers.
    mark: Option<u32>,
    /// Where its packets come from, unless that is the agent's own network namespace.
    from: Option<Netns>,
}

impl SelfQuery {
    /// Asks the resolver at this address, by packets with this mark ([`crate::dataplane::AGENT_MARK`] where the kernel
    /// guards the address).
    #[must_use]
    pub fn new(address: SocketAddr, mark: Option<u32>) -> Self {
        Self { address, mark, from: None }
    }

    /// Asks this server from another network namespace, as its clients do.
    pub(super) fn from(netns: Netns, server: SocketAddr) -> Self {
        Self { address: server, mark: None, from: Some(netns) }
    }

    /// Asks the resolver for what it alone knows.
    pub(super) async fn ask(&self, transport: Transport) -> io::Result<()> {
        self.exchange(transport, LEASE_NAME, RecordType::A).await.map(drop)
    }

    /// Asks whether the resolver works: over UDP, then over TCP. Waits as long as it takes.
    pub(crate) async fn works(&self) -> io::Result<()> {
        self.ask(Transport::Udp).await?;
        self.ask(Transport::Tcp).await
    }

    /// The address of a family that the resolver gives for a name; `None`: it knows the name and has none. Waits as long as
    /// it takes.
    pub(crate) async fn resolve(&self, name: &AliasName, family: Family) -> io::Result<Option<IpAddr>> {
        let kind = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
        let answer = self.exchange(Transport::Udp, name.as_str(), kind).await?;
        Ok(answer.answers.iter().find_map(|record| match record.data {
            RData::A(A(address)) => Some(address.into()),
            RData::AAAA(AAAA(address)) => Some(address.into()),
            _ => None,
        }))
    }

    /// The answer to a query for a name's records of a kind; an error where its code is one.
    async fn exchange(&self, transport: Transport, name: &str, kind: RecordType) -> io::Result<Message> {
        let mut query = Message::query();
        query.queries.push(Query::query(Name::from_ascii(name).map_err(io::Error::other)?, kind));
        let bytes = query.to_vec().map_err(io::Error::other)?;
        let answer = match transport {
            Transport::Udp => {
                let socket = UdpSocket::from_std(self.socket(Type::DGRAM)?.into())?;
                socket.connect(self.address).await?;
                socket.send(&bytes).await?;
                let mut answer = Vec::with_capacity(512);
                socket.recv_buf(&mut answer).await?;
                answer
            }
            Transport::Tcp => {
                let socket = self.socket(Type::STREAM)?;
                // No end that conntrack would remember for minutes.
                socket.set_linger(Some(Duration::ZERO))?;
                let socket = TcpSocket::from_std_stream(socket.into());
                let mut frames = framing().new_framed(socket.connect(self.address).await?);
                frames.send(bytes.as_slice()).await?;
                frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??.into()
            }
        };
        let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(answer),
            code => Err(io::Error::other(format!("response code {code}"))),
        }
    }

    fn socket(&self, kind: Type) -> io::Result<Socket> {
        let domain = Domain::for_address(self.address);
        let socket = match &self.from {
            Some(netns) => netns.socket(domain, kind, None).map_err(io::Error::other)?,
            None => Socket::new(domain, kind.nonblocking(), None)?,
        };
        self.mark.map_or(Ok(()), |mark| socket.set_mark(mark))?;
        Ok(socket)
    }
}
