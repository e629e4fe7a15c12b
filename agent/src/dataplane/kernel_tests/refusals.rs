//! How many hear that nobody serves them over UDP, which is as many as the kernel cares to tell.

use std::net::UdpSocket;

use super::netns::until;
use super::node::{Node, Plane, dial};
use super::{frontend, ruleset};
use crate::model::L4;

/// Datagrams that are sent at once.
const MANY: usize = 100;

#[test]
fn every_datagram_is_refused_where_the_kernel_does_not_limit_its_messages() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    plane.apply(ruleset([]));
    let nobody = frontend(9, L4::Udp, 80);
    let send = || {
        node.container(0).run(move || {
            let socket = |_| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(nobody.address()).unwrap();
                socket.send(b"?").unwrap();
                socket
            };
            (0..MANY).map(socket).collect::<Vec<_>>()
        })
    };
    let heard = |sockets: &[UdpSocket]| sockets.iter().filter(|socket| socket.take_error().unwrap().is_some()).count();
    // As hosts come: the limit of one address, and which messages it is about.
    node.host.sh("echo 1000 > /proc/sys/net/ipv4/icmp_ratelimit; echo 6168 > /proc/sys/net/ipv4/icmp_ratemask");
    let sockets = send();
    // Its refusal comes after theirs.
    dial(node.container(0), frontend(9, L4::Tcp, 80)).unwrap_err();
    let limited = heard(&sockets);
    println!("{limited} of {MANY} hear of it by default");
    assert!(limited < MANY, "the kernel limits them no more: doctor and ARCHITECTURE.md say that it does");
    // What doctor advises.
    node.host.sh("echo 6160 > /proc/sys/net/ipv4/icmp_ratemask");
    let sockets = send();
    let mut all = 0;
    until("everybody hears of it", || {
        all += heard(&sockets);
        all == MANY
    });
}
