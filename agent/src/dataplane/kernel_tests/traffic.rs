use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use tokio::sync::watch;

use super::netns::{Netns, until};
use super::node::{BRIDGE, Node, OUTSIDE, Plane, address, block_on, dial, dial_here, serve, serve_on};
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::links::keep_hairpins;
use crate::model::{Frontend, L4, Slots, VipCidr};

const BOTH: [L4; 2] = [L4::Tcp, L4::Udp];

fn names(from: &Netns, to: Frontend, times: usize) -> BTreeMap<String, usize> {
    from.run(move || {
        let mut names = BTreeMap::new();
        for _ in 0..times {
            *names.entry(dial_here(to).unwrap().name).or_default() += 1;
        }
        names
    })
}

#[test]
fn containers_reach_endpoints_on_their_own_bridge_however_it_is_set() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        serve(node.container(1), "one", 8080);
        serve(node.container(2), "two", 8080);
        let plane = Plane::start(&node.host);
        let both = slots(&[(address(1), 8080), (address(2), 8080)]);
        plane.apply(ruleset(BOTH.map(|l4| (frontend(1, l4, 80), both.clone()))));
        for l4 in BOTH {
            // That one of two is drawn so seldom, in any of the four cases, has a chance of 1 in 10^11.
            let names = names(node.container(0), frontend(1, l4, 80), 100);
            assert!(names["one"] > 16 && names["two"] > 16, "{l4} bridge_nf={bridge_nf} {names:?}");
            let answer = dial(node.container(0), frontend(1, l4, 80)).unwrap();
            // Bridged packets keep their source; routed ones would be answered past the host.
            let expected = if bridge_nf { address(0) } else { BRIDGE };
            assert_eq!(answer.client, expected.to_string(), "{l4} bridge_nf={bridge_nf}");
        }
    }
}

#[test]
fn an_endpoint_reaches_itself() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        serve(node.container(0), "self", 8080);
        let plane = Plane::start(&node.host);
        plane.apply(ruleset(BOTH.map(|l4| (frontend(1, l4, 80), slots(&[(address(0), 8080)])))));
        if bridge_nf {
            until("the ports are in hairpin mode", || node.hairpins() == 3);
        }
        for l4 in BOTH {
            let answer = dial(node.container(0), frontend(1, l4, 80));
            let answer = answer.unwrap_or_else(|error| panic!("{l4} bridge_nf={bridge_nf}: {error}"));
            assert_eq!((answer.name.as_str(), answer.client), ("self", BRIDGE.to_string()));
        }
    }
}

#[test]
fn ports_that_come_later_are_put_in_hairpin_mode_only_where_netfilter_sees_bridged_packets() {
    for bridge_nf in [false, true] {
        let node = Node::new(bridge_nf);
        let plane = Plane::start(&node.host);
        plane.apply(ruleset([]));
        node.host.sh("ip link add late type veth peer name peer; ip link set late master br0; ip link set late up");
        if bridge_nf {
            until("the late port is in hairpin mode, too", || node.hairpins() == 4);
        }
        // A sweep to its end, as each event is followed by.
        let families = ranges().iter().map(VipCidr::family).collect();
        let (_, bridges) = watch::channel(ruleset([]).bridges);
        node.host.run(|| block_on(keep_hairpins(families, bridges))).unwrap();
        assert_eq!(node.hairpins(), if bridge_nf { 4 } else { 0 });
    }
}

#[test]
fn the_host_and_containers_reach_endpoints_anywhere() {
    let node = Node::new(false);
    serve(node.container(1), "container", 8080);
    serve(&node.outside, "outside", 8080);
    serve_on(&node.host, "host", SocketAddr::new([10, 9, 0, 1].into(), 8080));
    let plane = Plane::start(&node.host);
    let own: IpAddr = [10, 9, 0, 1].into();
    let frontends = BOTH.into_iter().flat_map(|l4| {
        [(1, address(1)), (2, OUTSIDE), (3, own)].map(|(i, to)| (frontend(i, l4, 80), slots(&[(to, 8080)])))
    });
    plane.apply(ruleset(frontends));
    for l4 in BOTH {
        for (index, name) in [(1, "container"), (2, "outside"), (3, "host")] {
            for from in [&node.host, node.container(0)] {
                let answer = dial(from, frontend(index, l4, 80));
                assert_eq!(answer.map(|answer| answer.name), Ok(name.to_owned()), "{l4} {name}");
            }
        }
    }
}

#[test]
fn nobody_there_is_a_refusal_at_once() {
    let node = Node::new(false);
    let plane = Plane::start(&node.host);
    plane.apply(ruleset([(frontend(1, L4::Tcp, 80), slots(&[(address(1), 8080)]))]));
    node.outside.sh("ip route add 240.240.0.0/16 via 10.9.0.1");
    let nobody =
        [frontend(9, L4::Tcp, 80), frontend(9, L4::Udp, 80), frontend(1, L4::Udp, 80), frontend(1, L4::Tcp, 81)];
    for to in nobody {
        // A neighbour that routes the range here is refused even where somebody serves.
        for (who, from) in [("container", node.container(0)), ("host", &node.host), ("outside", &node.outside)] {
            // A datagram that is refused before it has left is the sender's fault.
            let local = who == "host" && to.l4 == L4::Udp;
            let expected = if local { ErrorKind::PermissionDenied } else { ErrorKind::ConnectionRefused };
            assert_eq!(dial(from, to).unwrap_err(), expected, "{who} {to:?}");
        }
    }
    assert_eq!(dial(&node.outside, frontend(1, L4::Tcp, 80)).unwrap_err(), ErrorKind::ConnectionRefused);
}

#[test]
fn connections_spread_evenly_over_few_and_many() {
    let node = Node::new(false);
    serve(&node.outside, "many", 8080);
    let plane = Plane::start(&node.host);
    // How often each endpoint would be drawn, and bounds of Pearson's statistic, which has a mean of n - 1: beyond any of
    // them lies less than 1 in 10^10. By Chernoff's bound on independent Poisson draws, divided by the chance of their sum;
    // for three endpoints by counting all outcomes.
    let cases = [(3_u32, 30_u32, 0.0..50.0), (100, 30, 27.0..265.0), (2000, 4, 1546.0..2569.0)];
    let endpoint = |i: u32| SocketAddr::new((0x0a50_0001 + i).to_be_bytes().into(), 8080);
    let served = |n| (frontend(n, L4::Tcp, 80), (0..n).map(endpoint).collect::<Slots>());
    plane.apply(ruleset(cases.each_ref().map(|(n, ..)| served(*n))));
    for (n, each, bounds) in cases {
        let seen = node.container(0).run(move || {
            let mut seen: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..n * each {
                *seen.entry(dial_here(frontend(n, L4::Tcp, 80)).unwrap().at).or_default() += 1;
            }
            seen
        });
        let expected = f64::from(each);
        let drawn: f64 = seen.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        let unseen = f64::from(n) - f64::from(u32::try_from(seen.len()).unwrap());
        let statistic = drawn + unseen * expected;
        assert!(bounds.contains(&statistic), "{n}: {statistic} not in {bounds:?}");
    }
}
