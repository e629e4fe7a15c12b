//! How many connections are open, as the kernel is asked.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};

use super::netns::until;
use super::node::{Node, Plane, address, ask, dial, serve};
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::conntrack::Census;
use crate::model::L4;

#[test]
fn open_connections_are_counted_and_not_those_that_are_only_remembered() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    let (tcp, udp, bad) = (frontend(1, L4::Tcp, 80), frontend(1, L4::Udp, 80), frontend(2, L4::Tcp, 80));
    serve(node.container(1), "short", 8080);
    let listener = node.container(1).run(|| std::net::TcpListener::bind("0.0.0.0:8081").unwrap());
    let kept = frontend(3, L4::Tcp, 80);
    let one = slots(&[(address(1), 8080)]);
    let unserved = slots(&[(address(1), 9999)]);
    plane.apply(ruleset([(tcp, one.clone()), (udp, one), (bad, unserved), (kept, slots(&[(address(1), 8081)]))]));
    let census = Census::new(ranges());
    let count = |to| {
        let census = census.clone();
        node.host.run(move || census.open().get(&to).copied().unwrap_or_default())
    };
    // These end at once, and conntrack remembers them for two minutes.
    for _ in 0..5 {
        dial(node.container(0), tcp).unwrap();
        dial(node.container(0), bad).unwrap_err();
    }
    let open = node.container(0).run(move || [(); 3].map(|()| TcpStream::connect(kept.address()).unwrap()));
    let mut accepted = [(); 3].map(|()| listener.accept().unwrap().0);
    let asking = node.container(0).run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(udp.address()).unwrap();
        ask(&socket).unwrap();
        socket
    });
    until("three are open", || count(kept) == 3);
    until("what has ended is not", || count(tcp) == 0);
    assert_eq!((count(bad), count(udp)), (0, 1));
    // Directly dialled, it is nobody's of ours.
    let direct = node.container(0).run(|| TcpStream::connect((address(1), 8081)).unwrap());
    let [first, rest @ ..] = open;
    first.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(accepted[0].read(&mut [0]).unwrap(), 0);
    assert_eq!(count(kept), 3, "half of it is still open");
    drop((first, accepted));
    until("its other half has ended, and the server has closed the others", || count(kept) <= 2);
    drop((rest, direct));
    until("nothing is open", || count(kept) == 0);
    drop(asking);
}
