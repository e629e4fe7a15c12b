//! Tells a client that nobody listens where it sent a datagram, as it would have learned it without us: by ICMP. The
//! kernel translates the message as it would its own, so that the client sees the name server that it asked.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

/// Lengths of headers without options, in bytes.
const IPV4: usize = 20;
const ICMP: usize = 8;
const UDP: usize = 8;
/// `IPPROTO_ICMP`, `IPPROTO_UDP`, `IPPROTO_RAW` (linux/in.h).
const IS_ICMP: u8 = 1;
const IS_UDP: u8 = 17;
const RAW: i32 = 255;
/// Destination unreachable: port unreachable (RFC 792).
const PORT_UNREACHABLE: [u8; 2] = [3, 3];

/// Says that a port is nobody's.
#[derive(Debug)]
pub(super) struct Refusal(Socket);

impl Refusal {
    /// Speaks from any address of this machine, and hears nothing.
    ///
    /// # Errors
    /// The agent may not: it takes `CAP_NET_RAW`.
    pub(super) fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Answers a datagram that `client` sent to `server`, an address of ours.
    ///
    /// # Errors
    /// It is not of IPv4, or the kernel does not take the message.
    pub(super) fn send(&self, client: SocketAddr, server: SocketAddr) -> io::Result<()> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (client, server) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.0.send_to(&port_unreachable(from, to), &client.into()).map(drop)
    }
}

/// The packet, with as much of the datagram in it as there must be: its headers.
fn port_unreachable(client: SocketAddrV4, server: SocketAddrV4) -> Vec<u8> {
    let datagram = [client.port(), server.port(), UDP as u16, 0].map(u16::to_be_bytes).concat();
    let sent = [ipv4(IS_UDP, *client.ip(), *server.ip(), UDP), datagram].concat();
    let mut error = [&PORT_UNREACHABLE[..], &[0; ICMP - 2], &sent].concat();
    write_checksum(&mut error, 2);
    [ipv4(IS_ICMP, *server.ip(), *client.ip(), error.len()), error].concat()
}

/// A header of a packet that carries so many bytes.
fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, carries: usize) -> Vec<u8> {
    let [high, low] = ((IPV4 + carries) as u16).to_be_bytes();
    let fixed = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    let mut header = [&fixed[..], &from.octets(), &to.octets()].concat();
    write_checksum(&mut header, 10);
    header
}

/// Puts the checksum (RFC 1071) where zeros stand for it.
fn write_checksum(bytes: &mut [u8], at: usize) {
    let mut sum: u32 = bytes.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
