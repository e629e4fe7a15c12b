use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use super::netns::{PATIENCE, until};
use super::node::{Node, OUTSIDE, Plane, address, ask, ask_within, dial, dial_here, serve};
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::conntrack::FlowEvents;
use crate::dataplane::kernel_tests::netns::Netns;
use crate::model::{FlowEvent, FlowKind, Frontend, L4, Ruleset, TcpState};

fn kept(ns: &Netns, to: Frontend) -> UdpSocket {
    ns.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((to.vip, to.port.get())).unwrap();
        socket
    })
}

/// Asks until it is answered so; conntrack is cleaned just after the tables have changed, and what was asked in between
/// is lost.
fn comes_to(socket: &UdpSocket, what: &str, mut wanted: impl FnMut(Result<String, ErrorKind>) -> bool) {
    until(what, || wanted(ask_within(socket, Duration::from_millis(100))));
}

fn comes_to_answer(socket: &UdpSocket, name: &str, why: &str) {
    comes_to(socket, why, |answer| answer.is_ok_and(|answer| answer.starts_with(name)));
}

/// Has the world outside count what comes to the VIPs' port there, since nobody translated it.
fn watch_outside(node: &Node, l4: L4) -> impl Fn() -> bool {
    let rule = format!("{l4} dport 80 counter");
    let node = &node.outside;
    node.sh(&format!("nft 'table ip seen {{ chain seen {{ type filter hook prerouting priority 0; {rule}; }}; }}'"));
    move || !node.sh("nft list table ip seen").contains("packets 0 ")
}

#[test]
fn udp_clients_that_keep_their_port_follow_the_endpoints() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        serve(node.container(1), "one", 8080);
        serve(node.container(2), "two", 8080);
        let plane = Plane::start(&node.host);
        let to = frontend(1, L4::Udp, 80);
        let socket = kept(node.container(0), to);
        let is_outside = watch_outside(&node, L4::Udp);
        socket.send(b"?").unwrap();
        until("before there is a table, the VIP is nobody's", is_outside);
        plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
        comes_to_answer(&socket, "one", "a flow from before the table");
        plane.apply(ruleset([(to, slots(&[(address(1), 8080), (address(2), 8080)]))]));
        assert_eq!(ask(&socket).unwrap().split(' ').next(), Some("one"), "its endpoint still serves");
        let two = ruleset([(to, slots(&[(address(2), 8080)]))]);
        let draining = [SocketAddr::new(address(1), 8080)].into_iter().collect();
        plane.apply(Ruleset { draining, ..two.clone() });
        let fresh = kept(node.container(0), to);
        comes_to_answer(&fresh, "two", "a new flow goes to who serves");
        assert_eq!(ask(&socket).unwrap().split(' ').next(), Some("one"), "its endpoint drains, and still answers");
        plane.apply(two);
        comes_to_answer(&socket, "two", "its endpoint is gone");
        plane.apply(ruleset([]));
        comes_to(&socket, "nobody serves any more", |answer| answer == Err(ErrorKind::ConnectionRefused));
        plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
        comes_to_answer(&socket, "one", "somebody serves again");
    }
}

#[test]
fn a_connect_from_before_there_was_a_table_gets_through() {
    let node = Node::new(false);
    serve(node.container(1), "one", 8080);
    let to = frontend(1, L4::Tcp, 80);
    let plane = Plane::start(&node.host);
    let is_outside = watch_outside(&node, L4::Tcp);
    let dialled = node.container(0).start(move || dial_here(to));
    until("its first SYN went where nobody answers", is_outside);
    plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
    let answer = dialled.recv().unwrap().expect("its next SYN is translated");
    assert_eq!(answer.name, "one");
}

#[test]
fn open_tcp_connections_outlive_their_endpoint_leaving_the_service() {
    let node = Node::new(false);
    let listener = node.container(1).run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer).unwrap();
        }
    });
    let plane = Plane::start(&node.host);
    let to = frontend(1, L4::Tcp, 80);
    plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
    let mut stream = node.container(0).run(move || TcpStream::connect((to.vip, 80)).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut echo = || {
        let mut buffer = [0; 4];
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut buffer).unwrap();
    };
    echo();
    let udp = frontend(2, L4::Udp, 80);
    let kept = kept(node.container(0), udp);
    serve(node.container(1), "udp", 8081);
    plane.apply(ruleset([(to, slots(&[(address(1), 8080)])), (udp, slots(&[(address(1), 8081)]))]));
    assert!(ask(&kept).is_ok());
    plane.apply(ruleset([]));
    comes_to(&kept, "conntrack was cleaned", |answer| answer == Err(ErrorKind::ConnectionRefused));
    echo();
    node.host.sh("nft flush ruleset");
    plane.wait(|state| state.repairs > 0 && state.in_sync);
    echo();
    assert_eq!(dial(node.container(0), to).unwrap_err(), ErrorKind::ConnectionRefused, "but no new ones");
}

/// Events from now on, as they come.
fn events(node: &Node) -> mpsc::Receiver<FlowEvent> {
    let (tell, told) = mpsc::channel();
    node.host.serve(move || async move {
        let mut events = FlowEvents::open(ranges()).unwrap();
        while tell.send(events.next().await.unwrap()).is_ok() {
            assert_eq!(events.lost, 0);
        }
    });
    told
}

#[test]
fn events_tell_of_flows_to_vips_alone() {
    let node = Node::new(false);
    serve(node.container(1), "one", 8080);
    serve(&node.outside, "outside", 80);
    node.host.sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_acct");
    let plane = Plane::start(&node.host);
    let (good, bad, udp) = (frontend(1, L4::Tcp, 80), frontend(2, L4::Tcp, 80), frontend(3, L4::Udp, 80));
    let marker = frontend(4, L4::Tcp, 80);
    let served = slots(&[(address(1), 8080)]);
    let whole = ruleset([(good, served.clone()), (bad, slots(&[(address(1), 9999)])), (udp, served)]);
    plane.apply(whole);
    let told = events(&node);
    for to in [good, bad, udp, Frontend { vip: OUTSIDE, ..good }] {
        let _ = dial(node.container(0), to);
    }
    // The UDP flow is removed with its endpoint.
    plane.apply(ruleset([(marker, slots(&[(address(1), 8080)]))]));
    let mut seen = Vec::new();
    let mut comes = |is: &dyn Fn(&FlowEvent) -> bool| {
        while !seen.last().is_some_and(is) {
            seen.push(told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {seen:?}")));
        }
    };
    comes(&|event| event.flow.frontend == udp && matches!(event.kind, FlowKind::Destroyed { .. }));
    // Events come in order: after this one there is nothing left of what was before it.
    dial(node.container(0), marker).unwrap();
    comes(&|event| event.flow.frontend == marker);
    seen.pop();
    let of = |to: Frontend| {
        let seen = seen.iter().filter(move |event| event.flow.frontend == to);
        seen.map(|event| (event.kind, event.flow)).collect::<Vec<_>>()
    };
    assert_eq!(seen.len(), of(good).len() + of(bad).len() + of(udp).len(), "{seen:?}");

    let [(FlowKind::New, flow)] = of(good)[..] else { panic!("{seen:?}") };
    assert_eq!((flow.client.ip(), flow.endpoint), (address(0), SocketAddr::new(address(1), 8080)));

    let [(FlowKind::New, _), (FlowKind::Destroyed { replied: false, tcp: Some(tcp), .. }, refused)] = of(bad)[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((tcp, refused.endpoint.port()), (TcpState::CLOSE, 9999));

    let [(FlowKind::New, _), (FlowKind::Destroyed { replied: true, tcp: None, sent, received }, _)] = of(udp)[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((sent.unwrap().packets, received.unwrap().packets), (1, 1));
}

#[test]
fn a_connect_to_an_endpoint_that_never_answers_is_drawn_again_and_told_as_a_failure() {
    let node = Node::new(false);
    serve(node.container(1), "alive", 8080);
    let deaf = "nft add table ip deaf; nft add chain ip deaf in '{ type filter hook input priority 0; policy drop; }'";
    node.container(2).sh(deaf);
    let plane = Plane::start(&node.host);
    let to = frontend(1, L4::Tcp, 80);
    let told = events(&node);
    let comes = |is: fn(FlowKind) -> bool| {
        std::iter::repeat_with(|| told.recv_timeout(PATIENCE).unwrap()).find(|event| is(event.kind)).unwrap()
    };
    // What is drawn is no matter of chance: first the one, then the other.
    plane.apply(ruleset([(to, slots(&[(address(2), 8080)]))]));
    let dialled = node.container(0).start(move || dial_here(to));
    let begun = comes(|kind| matches!(kind, FlowKind::New));
    assert_eq!(begun.flow.endpoint, SocketAddr::new(address(2), 8080));
    plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
    let answer = dialled.recv().unwrap().expect("drawn again until somebody answers");
    assert_eq!(answer.name, "alive");
    let ended = comes(|kind| matches!(kind, FlowKind::Destroyed { replied: false, .. }));
    let FlowKind::Destroyed { tcp, .. } = ended.kind else { unreachable!() };
    assert_eq!((tcp, ended.flow.endpoint), (Some(TcpState::SYN_SENT), SocketAddr::new(address(2), 8080)));
}
