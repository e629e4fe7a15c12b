use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::node::{Node, OUTSIDE, Plane, address, ask, block_on, dial, serve};
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::conntrack::FlowEvents;
use crate::dataplane::kernel_tests::netns::Netns;
use crate::model::{FlowEvent, FlowKind, Frontend, L4, TcpState};

fn kept(ns: &Netns, to: Frontend) -> UdpSocket {
    ns.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((to.vip, to.port.get())).unwrap();
        socket
    })
}

/// Asks until the answer begins so; conntrack is cleaned just after the tables have changed.
fn comes_to_answer(socket: &UdpSocket, name: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if ask(socket).is_ok_and(|answer| answer.starts_with(name)) {
            return true;
        }
    }
    false
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
        assert!(ask(&socket).is_err(), "before there is a table, the VIP is nobody's");
        plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
        assert!(comes_to_answer(&socket, "one"), "a flow from before the table");
        plane.apply(ruleset([(to, slots(&[(address(1), 8080), (address(2), 8080)]))]));
        assert_eq!(ask(&socket).unwrap().split(' ').next(), Some("one"), "its endpoint still serves");
        plane.apply(ruleset([(to, slots(&[(address(2), 8080)]))]));
        assert!(comes_to_answer(&socket, "two"), "its endpoint is gone");
        plane.apply(ruleset([]));
        let start = Instant::now();
        while ask(&socket) != Err(ErrorKind::ConnectionRefused) {
            assert!(start.elapsed() < Duration::from_secs(2), "nobody serves any more");
        }
        plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
        assert!(comes_to_answer(&socket, "one"), "somebody serves again");
    }
}

#[test]
fn a_connect_from_before_there_was_a_table_gets_through() {
    let node = Node::new(false);
    serve(node.container(1), "one", 8080);
    let to = frontend(1, L4::Tcp, 80);
    let plane = Plane::start(&node.host);
    let connected = node.container(0).start(move || {
        let address = to.address();
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
    });
    std::thread::sleep(Duration::from_millis(200));
    plane.apply(ruleset([(to, slots(&[(address(1), 8080)]))]));
    connected.recv().unwrap().expect("its next SYN is translated");
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
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut echo = || {
        let mut buffer = [0; 4];
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut buffer).unwrap();
    };
    echo();
    plane.apply(ruleset([]));
    std::thread::sleep(Duration::from_millis(100));
    echo();
    node.host.sh("nft flush ruleset");
    plane.wait(|state| state.repairs > 0 && state.in_sync);
    echo();
    assert_eq!(dial(node.container(0), to).unwrap_err(), ErrorKind::ConnectionRefused, "but no new ones");
}

/// Opens the events, runs `act`, and reads until events stay out for a while.
fn events(node: &Node, act: impl FnOnce()) -> Vec<FlowEvent> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let collected = node.host.start(move || {
        block_on(async {
            let mut events = FlowEvents::open(ranges()).unwrap();
            ready.send(()).unwrap();
            let mut seen = Vec::new();
            while let Ok(event) = tokio::time::timeout(Duration::from_millis(500), events.next()).await {
                seen.push(event.unwrap());
            }
            assert_eq!(events.lost, 0);
            seen
        })
    });
    is_ready.recv().unwrap();
    act();
    collected.recv().unwrap()
}

#[test]
fn events_tell_of_flows_to_vips_alone() {
    let node = Node::new(false);
    serve(node.container(1), "one", 8080);
    serve(&node.outside, "outside", 80);
    node.host.sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_acct");
    let plane = Plane::start(&node.host);
    let (good, bad, udp) = (frontend(1, L4::Tcp, 80), frontend(2, L4::Tcp, 80), frontend(3, L4::Udp, 80));
    let served = slots(&[(address(1), 8080)]);
    let whole = ruleset([(good, served.clone()), (bad, slots(&[(address(1), 9999)])), (udp, served)]);
    plane.apply(whole);
    let seen = events(&node, || {
        for to in [good, bad, udp, Frontend { vip: OUTSIDE, ..good }] {
            let _ = dial(node.container(0), to);
        }
        // The UDP flow is removed with its endpoint.
        plane.apply(ruleset([]));
    });
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
    plane.apply(ruleset([(to, slots(&[(address(1), 8080), (address(2), 8080)]))]));

    let (tell, told) = std::sync::mpsc::channel();
    let events = node.host.start(move || {
        block_on(async {
            let mut events = FlowEvents::open(ranges()).unwrap();
            tell.send(()).unwrap();
            loop {
                if let FlowEvent { kind: FlowKind::Destroyed { replied: false, tcp, .. }, flow } =
                    events.next().await.unwrap()
                {
                    return (tcp, flow.endpoint);
                }
            }
        })
    });
    told.recv().unwrap();
    // Twelve at once: that none of them draws the deaf one first has a chance of 1 in 4,000.
    let dials = (0..12).map(|_| {
        node.container(0).start(move || {
            let address = to.address();
            TcpStream::connect_timeout(&address, Duration::from_secs(30)).map(drop)
        })
    });
    for connected in dials.collect::<Vec<_>>() {
        connected.recv().unwrap().expect("drawn again until somebody answers");
    }
    let (state, endpoint) = events.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!((state, endpoint), (Some(TcpState::SYN_SENT), SocketAddr::new(address(2), 8080)));
}
