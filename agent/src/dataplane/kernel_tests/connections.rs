use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use super::node::{Node, Plane, address, ask, block_on, serve};
use super::{frontend, ruleset, slots};
use crate::dataplane::conntrack::count;
use crate::dataplane::kernel_tests::netns::{Netns, until};
use crate::model::L4;

/// An open connection: the client's end and the server's.
type Connection = (TcpStream, TcpStream);

/// Connects. What the server has accepted, conntrack knows as established.
fn connect(from: &Netns, to: SocketAddr, server: &TcpListener) -> Connection {
    let client = from.run(move || TcpStream::connect(to).unwrap());
    (client, server.accept().unwrap().0)
}

fn listen(ns: &Netns, port: u16) -> TcpListener {
    ns.run(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
}

fn counted(node: &Node, endpoints: &[SocketAddr]) -> u64 {
    let endpoints = endpoints.iter().copied().collect();
    node.host.run(move || block_on(count(endpoints)).unwrap())
}

fn comes_to(node: &Node, endpoint: SocketAddr, expected: u64) {
    until(&format!("{expected} connections"), || counted(node, &[endpoint]) == expected);
}

#[test]
fn established_tcp_connections_are_counted_however_they_came_and_no_others() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        let (one, two) = (SocketAddr::new(address(1), 8080), SocketAddr::new(address(2), 8080));
        let (server, other) = (listen(node.container(1), 8080), listen(node.container(2), 8080));
        serve(node.container(1), "udp", 8081);
        let plane = Plane::start(&node.host);
        let (to_one, to_two, udp) = (frontend(1, L4::Tcp, 80), frontend(2, L4::Tcp, 80), frontend(3, L4::Udp, 80));
        plane.apply(ruleset([
            (to_one, slots(&[(address(1), 8080)])),
            (to_two, slots(&[(address(2), 8080)])),
            (udp, slots(&[(address(1), 8081)])),
        ]));
        assert_eq!(counted(&node, &[one, two]), 0, "nobody has connected");

        let vip = |index| SocketAddr::new(frontend(index, L4::Tcp, 80).vip, 80);
        let container = node.container(0);
        let mut through: Vec<_> = [container, container, container, &node.host]
            .into_iter()
            .map(|from| connect(from, vip(1), &server))
            .collect();
        assert_eq!(counted(&node, &[one]), 4, "through the VIP");
        let mut direct: Vec<_> =
            [&node.outside, &node.outside, &node.host].into_iter().map(|from| connect(from, one, &server)).collect();
        assert_eq!(counted(&node, &[one]), 7, "and past it");
        let _bridged = connect(container, one, &server);
        let seen = 7 + u64::from(bridge_nf);
        assert_eq!(counted(&node, &[one]), seen, "bridged packets pass netfilter: {bridge_nf}");

        let _other = connect(container, vip(2), &other);
        let socket = container.run(move || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((udp.vip, 80)).unwrap();
            socket
        });
        assert!(ask(&socket).is_ok());
        assert_eq!(counted(&node, &[one]), seen, "neither another endpoint's nor UDP");
        assert_eq!(counted(&node, &[SocketAddr::new(address(1), 8081)]), 0, "UDP has no connections");
        assert_eq!(counted(&node, &[one, two]), seen + 1);
        assert_eq!(counted(&node, &[vip(1)]), 4, "what was dialled counts as well");
        assert_eq!(counted(&node, &[]), 0);

        plane.apply(ruleset([]));
        assert_eq!(counted(&node, &[one]), seen, "taken out of the slots, it keeps its connections");
        through.pop();
        direct.pop();
        comes_to(&node, one, seen - 2);
        through[0].1.shutdown(Shutdown::Write).unwrap();
        comes_to(&node, one, seen - 3);
        through.clear();
        direct.clear();
        comes_to(&node, one, u64::from(bridge_nf));
    }
}
