//! Tells the client of a datagram what it would have heard without meshdog: that its name server cannot be reached.
//!
//! A program that is told so asks the next server at once. The kernel makes such messages by itself only where nobody
//! listens, and here somebody does; so the message is written here. It leaves like the resolver's answers: connection
//! tracking translates it, and the client sees its own query in it. IPv4 alone, as the capture is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tracing::info;

/// `IPPROTO_RAW` (linux/in.h): for sending whole packets, header included; nothing is ever received.
const RAW: i32 = 255;
/// Protocol numbers in an IPv4 header.
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// Lengths of headers without options (RFC 791, RFC 792, RFC 768).
const IP_HEADER: u16 = 20;
const ICMP_HEADER: u16 = 8;
const UDP_HEADER: u16 = 8;
/// `ICMP_DEST_UNREACH` (linux/icmp.h).
const UNREACHABLE: u8 = 3;
/// Hops that a packet may take.
const TTL: u8 = 64;

/// The codes of "unreachable" that a client is told (RFC 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Net = 0,
    Host = 1,
    Port = 3,
}

impl Code {
    /// What an error of the socket that asked the server means; none where it is of this process's own making.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Port),
            io::ErrorKind::HostUnreachable => Some(Self::Host),
            io::ErrorKind::NetworkUnreachable => Some(Self::Net),
            _ => None,
        }
    }
}

/// The way to tell.
#[derive(Debug)]
pub(crate) struct Unreachable(Option<Socket>);

impl Unreachable {
    /// One that tells nobody.
    pub(super) fn mute() -> Self {
        Self(None)
    }

    /// One that tells clients; nobody where the agent may not (CAP_NET_RAW).
    pub(crate) fn open() -> Self {
        let opened = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        if let Err(error) = &opened {
            info!(%error, "clients of a name server that refuses get SERVFAIL; give the agent CAP_NET_RAW");
        }
        Self(opened.ok())
    }

    /// Tells the client of a datagram of that many bytes, which came to the resolver at `asked`. False where it could not.
    pub(crate) fn tell(&self, code: Code, client: SocketAddr, asked: SocketAddr, length: usize) -> bool {
        let (Some(socket), SocketAddr::V4(client), SocketAddr::V4(asked)) = (&self.0, client, asked) else {
            return false;
        };
        let packet = packet(code, client, asked, length);
        socket.send_to(&packet, &SockAddr::from(SocketAddrV4::new(*client.ip(), 0))).is_ok()
    }
}

/// The message, with the beginning of the datagram that it is about.
fn packet(code: Code, client: SocketAddrV4, asked: SocketAddrV4, length: usize) -> Vec<u8> {
    let datagram = UDP_HEADER.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
    let mut quoted = header(UDP, *client.ip(), *asked.ip(), datagram);
    // Both ports, the length, and no checksum.
    [client.port(), asked.port(), datagram, 0].iter().for_each(|field| quoted.extend(field.to_be_bytes()));
    let mut message = vec![UNREACHABLE, code as u8, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let sum = checksum(&message);
    message.splice(2..4, sum.to_be_bytes());
    let carried = ICMP_HEADER + IP_HEADER + UDP_HEADER;
    [header(ICMP, *asked.ip(), *client.ip(), carried), message].concat()
}

fn header(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, carried: u16) -> Vec<u8> {
    let [high, low] = IP_HEADER.saturating_add(carried).to_be_bytes();
    // Version and length in words, no service; the length; no id, no fragment; lifetime, protocol, checksum.
    let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, TTL, protocol, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header.splice(10..12, sum.to_be_bytes());
    header
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).filter_map(|pair| Some(u32::from(u16::from_be_bytes(pair.try_into().ok()?))));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests;
