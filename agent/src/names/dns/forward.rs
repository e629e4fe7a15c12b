//! Asks the name server that a client asked, by datagram. Queries and answers pass as bytes, whatever they are; only the id
//! is another one on the way.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_util::codec::length_delimited::{Builder, LengthDelimitedCodec};

use super::message;

/// Largest message, in bytes: what UDP and TCP carry.
pub(super) const MAX_MESSAGE: usize = u16::MAX as usize;

/// The way to name servers: by sockets with this mark, which are not captured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forwarder {
    mark: Option<u32>,
}

impl Forwarder {
    pub(super) fn new(mark: Option<u32>) -> Self {
        Self { mark }
    }

    /// Whether queries can be relayed at all: sockets can be made and marked. Says nothing about any server's health,
    /// which clients would suffer from without meshdog too.
    pub(super) fn able(self) -> bool {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        self.socket(any, Type::DGRAM).is_ok()
    }

    /// The first answer to a query, under the query's id. Waits as long as it takes; asked is once, as the client did,
    /// under a random id and from a random port.
    ///
    /// # Errors
    /// Nobody listens there, or there is no way.
    pub(super) async fn ask(self, server: SocketAddr, mut query: Vec<u8>) -> io::Result<Vec<u8>> {
        let (own, id) = (message::id(&query), rand::random());
        message::set_id(&mut query, id);
        let socket = self.socket(server, Type::DGRAM)?;
        // Connected: the kernel picks a random port and lets only this server's datagrams in.
        socket.connect(&server.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.send(&query).await?;
        drop(query);
        loop {
            // ICMP's word that nobody listens is an error without anything to read.
            if socket.ready(Interest::READABLE | Interest::ERROR).await?.is_error() {
                return Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
            }
            // Room is made once there is something to read.
            let mut answer = Vec::with_capacity(MAX_MESSAGE);
            match socket.try_recv_buf(&mut answer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if message::is_response(&answer) && message::id(&answer) == id {
                message::set_id(&mut answer, own);
                return Ok(answer);
            }
        }
    }

    /// A connection to a name server.
    ///
    /// # Errors
    /// As the kernel says.
    pub(super) async fn connect(self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::from_std_stream(self.socket(server, Type::STREAM)?.into());
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn socket(self, server: SocketAddr, kind: Type) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(server), kind, None)?;
        socket.set_nonblocking(true)?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        Ok(socket)
    }
}

/// DNS over TCP: each message behind its length in two bytes (RFC 1035 4.2.2).
pub(super) fn framing() -> Builder {
    let mut framing = LengthDelimitedCodec::builder();
    framing.length_field_type::<u16>().max_frame_length(MAX_MESSAGE);
    framing
}
