use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::netns::{Netns, until};
use super::node::{Node, OUTSIDE, Plane, address, ask, ask_within, block_on, dial, dial_within, serve, serve_on};
use super::{frontend, range, ruleset, slots};
use crate::dataplane::behaviour::paths;
use crate::dataplane::{AGENT_MARK, LEASE};
use crate::model::{Frontend, L4, MAX_CAPTURED, RESOLVER_PORT, Ruleset};

fn dns(l4: L4) -> Frontend {
    Frontend { vip: OUTSIDE, l4, port: NonZeroU16::new(53).unwrap() }
}

/// A node whose name server is outside, and whose agent answers while it lives.
fn captured(bridge_nf: bool) -> (Node, Plane) {
    let node = Node::new(bridge_nf);
    serve_on(&node.outside, "real", SocketAddr::new(OUTSIDE, 53));
    let plane = Plane::start(&node.host);
    serve_on(&node.host, "mesh", SocketAddr::new(range().resolver(), RESOLVER_PORT));
    plane.apply(ruleset([]));
    (node, plane)
}

/// The resolver's port for the host's own queries.
const HOST_PORT: u16 = RESOLVER_PORT + MAX_CAPTURED;

/// The host's own queries to a name server are captured, too.
fn with_host(server: IpAddr) -> Ruleset {
    Ruleset { host_resolvers: [(server, HOST_PORT)].into_iter().collect(), ..ruleset([]) }
}

fn name(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[test]
fn queries_are_answered_here_while_the_lease_is_renewed_and_no_longer() {
    let (node, plane) = captured(false);
    let who = |l4| dial(node.container(0), dns(l4)).unwrap();
    assert_eq!((who(L4::Udp).name.as_str(), who(L4::Tcp).name.as_str()), ("real", "real"), "before any lease");
    // A client that keeps one port, and asks more often than any conntrack timeout.
    let kept = |ns: &Netns| {
        ns.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((OUTSIDE, 53)).unwrap();
            socket
        })
    };
    serve_on(&node.host, "mesh", SocketAddr::new(range().resolver(), HOST_PORT));
    plane.apply(with_host(OUTSIDE));
    let clients = [kept(node.container(0)), kept(&node.host)];
    let asked = || clients.each_ref().map(|client| name(&ask(client).unwrap()).to_owned());
    assert_eq!(asked(), ["real"; 2]);
    plane.capture();
    for l4 in [L4::Udp, L4::Tcp] {
        assert_eq!(who(l4).name, "mesh");
        assert_eq!(who(l4).client, address(0).to_string());
        assert_eq!(dial(&node.host, dns(l4)).unwrap().name, "mesh", "the host's own, {l4}");
    }
    let renewed = Instant::now();
    block_on(plane.handle.renew_leases(paths())).unwrap();
    until("the lease is over", || {
        let answers = asked();
        let over = answers.iter().any(|who| who == "real");
        // The kernel counts from the last tick on.
        assert!(!over || renewed.elapsed() + Duration::from_millis(20) >= LEASE, "the lease was cut short");
        over
    });
    assert_eq!(asked(), ["real"; 2], "the same ports, at once");
    assert_eq!((who(L4::Udp).name.as_str(), who(L4::Tcp).name.as_str()), ("real", "real"));
    plane.capture();
    assert_eq!(asked(), ["mesh"; 2], "and back");
    block_on(plane.handle.end_leases()).unwrap();
    assert_eq!(asked(), ["real"; 2], "given up by the agent");
}

#[test]
fn only_queries_to_default_name_servers_of_containers_that_have_them_are_captured() {
    for bridge_nf in [false, true] {
        let (node, plane) = captured(bridge_nf);
        let other = IpAddr::from([10, 80, 0, 9]);
        serve_on(&node.outside, "other", SocketAddr::new(other, 53));
        serve(node.container(1), "neighbour", 53);
        plane.apply(Ruleset { uncaptured: [address(2)].into_iter().collect(), ..ruleset([]) });
        plane.capture();
        let asks = |from: &Netns, server, l4| dial(from, Frontend { vip: server, ..dns(l4) }).unwrap().name;
        for l4 in [L4::Tcp, L4::Udp] {
            assert_eq!(asks(node.container(0), OUTSIDE, l4), "mesh");
            assert_eq!(asks(node.container(0), other, l4), "other", "another server");
            assert_eq!(asks(node.container(0), address(1), l4), "neighbour", "one in a container");
            assert_eq!(asks(node.container(2), OUTSIDE, l4), "real", "a container with servers of its own");
            assert_eq!(asks(&node.host, OUTSIDE, l4), "real", "the host");
        }
    }
}

#[test]
fn each_name_server_has_a_port_of_its_own() {
    let (node, plane) = captured(false);
    let second = IpAddr::from([10, 80, 0, 9]);
    serve_on(&node.host, "second", SocketAddr::new(range().resolver(), RESOLVER_PORT + 1));
    let mut two = ruleset([]);
    two.resolvers.insert(second, RESOLVER_PORT + 1);
    plane.apply(two.clone());
    plane.capture();
    let asks = |server, l4| dial(node.container(0), Frontend { vip: server, ..dns(l4) }).unwrap().name;
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!([asks(OUTSIDE, l4), asks(second, l4)], ["mesh", "second"]);
    }
    two.resolvers.insert(second, RESOLVER_PORT);
    plane.apply(two);
    assert_eq!(asks(second, L4::Tcp), "mesh", "at another port from now on");
}

#[test]
fn a_stub_resolver_on_the_hosts_loopback_is_captured_for_the_host() {
    let (node, plane) = captured(false);
    let stub: IpAddr = [127, 0, 0, 53].into();
    serve_on(&node.host, "stub", SocketAddr::new(stub, 53));
    serve_on(&node.host, "mesh", SocketAddr::new(range().resolver(), HOST_PORT));
    plane.capture();
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!(dial(&node.host, Frontend { vip: stub, ..dns(l4) }).unwrap().name, "stub");
    }
    plane.apply(with_host(stub));
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!(dial(&node.host, Frontend { vip: stub, ..dns(l4) }).unwrap().name, "mesh");
    }
}

#[test]
fn a_lease_from_before_the_table_comes_with_it() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    plane.capture();
    // The kernel counts in ticks.
    std::thread::sleep(Duration::from_millis(20));
    serve_on(&node.host, "mesh", SocketAddr::new(range().resolver(), RESOLVER_PORT));
    plane.apply(ruleset([]));
    assert_eq!(dial(node.container(0), dns(L4::Udp)).unwrap().name, "mesh");
    let leases = node.host.sh("nft list set ip meshdog alive");
    assert!(leases.contains("timeout 9m"), "no more than was left: {leases}");
}

#[test]
fn the_agents_own_queries_are_not_captured() {
    let (node, plane) = captured(false);
    plane.capture();
    plane.apply(with_host(OUTSIDE));
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
    let (node, plane) = captured(false);
    plane.capture();
    node.outside.sh("ip route add 240.240.0.0/16 via 10.9.0.1");
    for l4 in [L4::Tcp, L4::Udp] {
        let direct = Frontend { vip: range().resolver(), l4, port: NonZeroU16::new(RESOLVER_PORT).unwrap() };
        for to in [direct, Frontend { vip: range().resolver(), ..dns(l4) }] {
            for from in [node.container(0), &node.outside] {
                assert_eq!(dial(from, to).unwrap_err(), ErrorKind::ConnectionRefused, "{to:?}");
            }
            // The reset is from the resolver's address to itself, and is refused, too: silence, however long.
            let host = node.host.run(move || dial_within(to, Duration::from_secs(1))).unwrap_err();
            assert_eq!(host, if l4 == L4::Tcp { ErrorKind::TimedOut } else { ErrorKind::PermissionDenied }, "{to:?}");
        }
    }
}

#[test]
fn an_agent_that_died_within_its_lease_is_a_refusal_not_a_hang() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    plane.apply(ruleset([]));
    plane.capture();
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!(dial(node.container(0), dns(l4)).unwrap_err(), ErrorKind::ConnectionRefused, "{l4}");
    }
}

#[test]
fn a_service_on_the_port_of_dns_is_a_service() {
    let (node, plane) = captured(false);
    serve(node.container(1), "named", 8053);
    plane.apply(ruleset([L4::Tcp, L4::Udp].map(|l4| (frontend(1, l4, 53), slots(&[(address(1), 8053)])))));
    plane.capture();
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!(dial(node.container(0), frontend(1, l4, 53)).unwrap().name, "named");
        assert_eq!(dial(node.container(0), dns(l4)).unwrap().name, "mesh");
    }
}

#[test]
fn the_agent_reaches_its_own_server_before_any_lease_and_nobody_else_does() {
    let (node, _plane) = captured(false);
    let server = SocketAddr::new(range().resolver(), RESOLVER_PORT);
    let asked = |mark: Option<u32>| {
        node.host.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            if let Some(mark) = mark {
                SockRef::from(&socket).set_mark(mark).unwrap();
            }
            socket.connect(server).unwrap();
            ask_within(&socket, Duration::from_secs(1))
        })
    };
    // The first write is followed by a look through conntrack, which may take the flow for one that leads nowhere while
    // its answer is under way.
    until("the agent is answered", || asked(Some(AGENT_MARK)).is_ok_and(|answer| name(&answer) == "mesh"));
    assert_eq!(asked(None).unwrap_err(), ErrorKind::PermissionDenied);
}

#[test]
fn a_client_hears_that_its_name_server_cannot_be_reached() {
    use crate::names::dns::unreachable::{Code, Unreachable};
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        let plane = Plane::start(&node.host);
        plane.apply(with_host(OUTSIDE));
        for (from, port) in [(node.container(0), RESOLVER_PORT), (&node.host, HOST_PORT)] {
            let at = SocketAddr::new(range().resolver(), port);
            node.host.serve(move || async move {
                let socket = tokio::net::UdpSocket::bind(at).await.unwrap();
                let unreachable = Unreachable::open();
                loop {
                    let (length, client) = socket.recv_from(&mut [0; 64]).await.unwrap();
                    assert!(unreachable.tell(Code::Port, client, at, length));
                }
            });
            plane.capture();
            // More than the kernel would say by itself in so short a time.
            node.host.sh("echo 1000 > /proc/sys/net/ipv4/icmp_ratelimit");
            for _ in 0..20 {
                assert_eq!(dial(from, dns(L4::Udp)).unwrap_err(), ErrorKind::ConnectionRefused, "{bridge_nf}");
            }
        }
    }
}
