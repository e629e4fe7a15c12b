use std::net::{SocketAddrV4, UdpSocket};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::node::{Node, OUTSIDE, Plane, ask, block_on, dial, serve, serve_on};
use super::{range, ruleset};
use crate::dataplane::{AGENT_MARK, DNS_PORT, LEASE};
use crate::mesh::Frontend;
use crate::model::L4;

fn dns(l4: L4) -> Frontend {
    Frontend { vip: OUTSIDE, l4, port: NonZeroU16::new(53).unwrap() }
}

/// A node whose name server is outside, and whose agent answers while it lives.
fn captured() -> (Node, Plane) {
    let node = Node::new(false);
    serve(&node.outside, "real", 53);
    let plane = Plane::start(&node.host);
    serve_on(&node.host, "mesh", SocketAddrV4::new(range().resolver(), DNS_PORT));
    plane.apply(ruleset([]));
    (node, plane)
}

fn name(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[test]
fn queries_are_answered_here_while_the_lease_is_renewed_and_no_longer() {
    let (node, plane) = captured();
    let who = |l4| dial(node.container(0), dns(l4)).unwrap();
    assert_eq!((who(L4::Udp).name.as_str(), who(L4::Tcp).name.as_str()), ("real", "real"), "before any lease");
    // A client that keeps one port, and asks more often than any conntrack timeout.
    let kept = |ns: &crate::dataplane::netns::Netns| {
        ns.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((OUTSIDE, 53)).unwrap();
            socket
        })
    };
    let (container, host) = (kept(node.container(0)), kept(&node.host));
    assert_eq!(name(&ask(&container).unwrap()), "real");
    block_on(plane.handle.renew_lease()).unwrap();
    let renewed = Instant::now();
    for l4 in [L4::Udp, L4::Tcp] {
        assert_eq!(who(l4).name, "mesh");
        assert_eq!(who(l4).client, super::node::address(0).to_string());
        assert_eq!(dial(&node.host, dns(l4)).unwrap().name, "mesh", "the host's own, {l4}");
    }
    while renewed.elapsed() < LEASE - Duration::from_millis(200) {
        assert_eq!(name(&ask(&container).unwrap()), "mesh");
        assert_eq!(name(&ask(&host).unwrap()), "mesh");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(name(&ask(&container).unwrap()), "real", "the same port, at once");
    assert_eq!(name(&ask(&host).unwrap()), "real");
    assert_eq!((who(L4::Udp).name.as_str(), who(L4::Tcp).name.as_str()), ("real", "real"));
    block_on(plane.handle.renew_lease()).unwrap();
    assert_eq!(name(&ask(&container).unwrap()), "mesh", "and back");
}

#[test]
fn the_agents_own_queries_are_not_captured() {
    let (node, plane) = captured();
    block_on(plane.handle.renew_lease()).unwrap();
    let marked = node.host.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        SockRef::from(&socket).set_mark(AGENT_MARK).unwrap();
        socket.connect((OUTSIDE, 53)).unwrap();
        socket
    });
    assert_eq!(name(&ask(&marked).unwrap()), "real");
}

#[test]
fn nobody_reaches_the_server_but_by_capture() {
    let (node, plane) = captured();
    block_on(plane.handle.renew_lease()).unwrap();
    node.outside.sh("ip route add 198.19.0.0/16 via 10.9.0.1");
    for l4 in [L4::Tcp, L4::Udp] {
        for from in [node.container(0), &node.host, &node.outside] {
            let direct = Frontend { vip: range().resolver(), l4, port: NonZeroU16::new(DNS_PORT).unwrap() };
            assert!(dial(from, direct).is_err());
        }
        // Its usual port is captured like any other server's, for those who are captured.
        let asked = Frontend { vip: range().resolver(), ..dns(l4) };
        assert_eq!(dial(node.container(0), asked).unwrap().name, "mesh");
        assert!(dial(&node.outside, asked).is_err());
    }
}

#[test]
fn an_agent_that_died_within_its_lease_is_a_refusal_not_a_hang() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    plane.apply(ruleset([]));
    block_on(plane.handle.renew_lease()).unwrap();
    for l4 in [L4::Tcp, L4::Udp] {
        let start = Instant::now();
        assert_eq!(dial(node.container(0), dns(l4)).unwrap_err(), std::io::ErrorKind::ConnectionRefused, "{l4}");
        assert!(start.elapsed() < Duration::from_millis(100));
    }
}
