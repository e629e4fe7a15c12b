//! Segments that conntrack finds out of a connection's window.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::netns::{Netns, PATIENCE};
use super::node::{Node, Plane, address};
use super::{frontend, ruleset, slots};
use crate::model::{L4, Ruleset};

/// Ahead of where a sender is: no window is so large.
const AHEAD: u32 = 1 << 30;

/// A connection that is echoed.
struct Open {
    client: TcpStream,
    /// Whom the server sees.
    peer: SocketAddr,
}

impl Open {
    fn new(from: &Netns, server: &TcpListener, to: SocketAddr) -> Self {
        let client = from.run(move || TcpStream::connect(to).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut stream, peer) = server.accept().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4];
            while stream.read_exact(&mut buffer).and_then(|()| stream.write_all(&buffer)).is_ok() {}
        });
        Self { client, peer }
    }

    fn echo(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 4];
        self.client.write_all(b"ping")?;
        self.client.read_exact(&mut buffer)
    }
}

/// The sequence number and acknowledgement of the last segment that leaves a socket of this namespace while `talk` goes on.
fn numbers(ns: &Netns, socket: SocketAddr, talk: impl FnOnce()) -> [u32; 2] {
    const ETH_P_ALL: u16 = 3;
    let sniffer = ns.run(|| {
        let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        Socket::new(Domain::PACKET, Type::DGRAM, Some(all)).unwrap()
    });
    sniffer.set_nonblocking(true).unwrap();
    talk();
    let (mut last, mut packet) = (None, [0; 128]);
    while let Ok(length) = (&sniffer).read(&mut packet) {
        let number = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let from = SocketAddr::new([packet[12], packet[13], packet[14], packet[15]].into(), (number(20) >> 16) as u16);
        if length >= 40 && packet[0] == 0x45 && packet[9] == 6 && from == socket {
            last = Some([number(24), number(28)]);
        }
    }
    last.expect("a segment was seen")
}

/// Sends an acknowledgement of what was received that is itself of no window, as a socket of this namespace.
fn send_stray(ns: &Netns, (from, to): (SocketAddr, SocketAddr), [sequence, acknowledged]: [u32; 2]) {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { panic!("of IPv4") };
    let stray = stray(from, to, [sequence.wrapping_add(AHEAD), acknowledged]);
    ns.run(move || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        // The host's own may be dropped before it has left, and its sender is told.
        let _ = raw.send_to(&stray, &SocketAddr::V4(to).into());
    });
}

/// An IPv4 packet with such a segment (RFC 791 3.1, RFC 9293 3.1). The kernel fills in the first checksum.
fn stray(from: SocketAddrV4, to: SocketAddrV4, numbers: [u32; 2]) -> Vec<u8> {
    let ends = [from.ip().octets(), to.ip().octets()].concat();
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    numbers.iter().for_each(|number| segment.extend(number.to_be_bytes()));
    // Twenty bytes, ACK, a window of 512, no checksum yet, nothing urgent.
    segment.extend([0x50, 0x10, 2, 0, 0, 0, 0, 0]);
    let pseudo = [&ends[..], &[0, 6, 0, 20], &segment[..]].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    segment[16..18].copy_from_slice(&(!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes());
    [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0][..], &ends, &segment].concat()
}

fn one(to: crate::model::Frontend) -> Ruleset {
    ruleset([(to, slots(&[(address(1), 8080)]))])
}

#[test]
fn a_connection_outlives_stray_segments_through_a_vip_as_it_does_directly() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        let plane = Plane::start(&node.host);
        let to = frontend(1, L4::Tcp, 80);
        plane.apply(one(to));
        let endpoint = SocketAddr::new(address(1), 8080);
        let server = node.container(1).run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
        for (who, from) in [("container", node.container(0)), ("itself", node.container(1)), ("host", &node.host)] {
            for dialled in [endpoint, to.address()] {
                if (who, dialled) == ("itself", endpoint) {
                    continue;
                }
                let mut open = Open::new(from, &server, dialled);
                open.echo().unwrap();
                let through_vip = dialled == to.address();
                let own = open.client.local_addr().unwrap();
                for _ in 0..3 {
                    let seen = numbers(from, own, || open.echo().unwrap());
                    send_stray(from, (own, dialled), seen);
                    // Through a VIP nothing tells an endpoint's from what it says to others.
                    if !through_vip {
                        let seen = numbers(node.container(1), endpoint, || open.echo().unwrap());
                        send_stray(node.container(1), (endpoint, open.peer), seen);
                    }
                    open.echo().unwrap_or_else(|e| panic!("{who} bridge_nf={bridge_nf} vip={through_vip}: {e}"));
                }
                open.echo().unwrap();
            }
        }
    }
}

#[test]
fn a_stray_segment_to_a_vip_goes_nowhere_while_the_agent_is_away() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    let to = frontend(1, L4::Tcp, 80);
    plane.apply(one(to));
    // Whoever routes the range would reset what he does not know.
    node.outside.sh("ip route add local 240.240.0.0/16 dev lo");
    let server = node.container(1).run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    for from in [node.container(0), &node.host] {
        let mut open = Open::new(from, &server, to.address());
        for _ in 0..3 {
            let own = open.client.local_addr().unwrap();
            let seen = numbers(from, own, || open.echo().unwrap());
            send_stray(from, (own, to.address()), seen);
            open.echo().unwrap();
        }
    }
    let tcp = node.outside.sh("grep ^Tcp: /proc/net/snmp | tail -1");
    // Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens ... OutRsts is the fourteenth.
    assert_eq!(tcp.split_whitespace().nth(14), Some("0"), "nothing of the kind has left: {tcp}");
}
