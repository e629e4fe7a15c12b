use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use imbl::OrdMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::netns::{Netns, PATIENCE, until};
use super::node::{Node, OUTSIDE, Plane, ask_within, block_on, dial, dial_within, serve, serve_on};
use super::{frontend, range, ruleset, slots};
use crate::dataplane::trace;
use crate::dataplane::vantages::{VantagePoint, Vantages, keep, uninstall};
use crate::health::roads;
use crate::model::{ClosedRoads, IfName, L4, RESOLVER_PORT, Ruleset, Vantage, View};

const SHORT: Duration = Duration::from_secs(2);

fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

/// With a vantage on each of these bridges.
fn with_vantages(bridges: &[&str], ruleset: Ruleset) -> Ruleset {
    let vantages: OrdMap<IfName, Vantage> = bridges.iter().map(|bridge| name(bridge)).zip(range().vantages()).collect();
    let mut frontends = ruleset.frontends.clone();
    frontends.extend(vantages.values().map(|vantage| vantage.frontend()));
    let mut locals = ruleset.locals.clone();
    locals.extend(vantages.values().map(|vantage| vantage.address));
    Ruleset { locals, bridges: vantages.keys().cloned().collect(), vantages, frontends, ..ruleset }
}

/// Whoever keeps vantages, in the host's namespace.
struct Kept {
    vantages: watch::Receiver<Option<Vantages>>,
    stop: CancellationToken,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Kept {
    fn start(host: &Netns, plane: &Plane) -> Self {
        let (out, vantages) = watch::channel(None);
        let stop = CancellationToken::new();
        let (stopped, mut rulesets) = (stop.clone(), plane.rulesets.subscribe());
        rulesets.mark_changed();
        let ended = host.start(move || block_on(keep(rulesets, out, stopped)).unwrap());
        Self { vantages, stop, ended }
    }

    fn point(&mut self, bridge: &str) -> VantagePoint {
        let there = |all: &Option<Vantages>| all.as_ref().is_some_and(|all| all.contains_key(&name(bridge)));
        let all = block_on(async { tokio::time::timeout(PATIENCE, self.vantages.wait_for(there)).await });
        let all = all.expect("no vantage in time").unwrap();
        all.as_ref().unwrap()[&name(bridge)].clone().unwrap()
    }
}

/// Who answers a query from there to the name server outside.
fn answers(point: &VantagePoint) -> Result<String, ErrorKind> {
    let asked = point.netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((OUTSIDE, 53)).unwrap();
        ask_within(&socket, SHORT)
    });
    asked.unwrap().map(|text| text.split(' ').next().unwrap_or_default().to_owned())
}

fn query() -> crate::model::Frontend {
    crate::model::Frontend { vip: OUTSIDE, l4: L4::Udp, port: 53.try_into().unwrap() }
}

#[test]
fn a_query_from_a_vantage_takes_a_containers_way_and_what_is_in_it_is_named() {
    let node = Node::new(false);
    serve_on(&node.outside, "real", SocketAddr::new(OUTSIDE, 53));
    let plane = Plane::start(&node.host);
    serve_on(&node.host, "mesh", SocketAddr::new(range().resolver(), RESOLVER_PORT));
    let before = node.host.sh("ip link show br0 | grep -o 'mtu [0-9]*\\|ether [0-9a-f:]*'");
    plane.apply(with_vantages(&["br0"], ruleset([])));
    let mut kept = Kept::start(&node.host, &plane);
    let point = kept.point("br0");
    assert_eq!(node.host.sh("ip link show br0 | grep -o 'mtu [0-9]*\\|ether [0-9a-f:]*'"), before, "as it was");

    until("the vantage is answered", || answers(&point).is_ok_and(|who| who == "mesh"));
    assert_eq!(dial(node.container(0), query()).unwrap().name, "real", "no lease lets containers be");

    // As the benchmark of the Center for Internet Security has it: what is not accepted is dropped.
    let hardened = [
        ("type filter hook input priority filter; policy drop;", "policy of chain INPUT"),
        ("type filter hook input priority filter; udp dport 15053-15068 drop;", "rule 2 of chain INPUT"),
    ];
    for (chain, what) in hardened {
        node.host.sh(&format!("nft 'table ip filter {{ chain INPUT {{ {chain} }}; }}'"));
        let from = point.vantage.address;
        let (attempt, other) = (point.clone(), point.clone());
        assert_eq!(answers(&attempt).unwrap_err(), ErrorKind::WouldBlock);
        let dropped = node.host.run(move || {
            block_on(trace::dropped(from, async move {
                tokio::task::spawn_blocking(move || answers(&other)).await.unwrap().map_err(Into::into)
            }))
        });
        let dropped = dropped.expect("nothing is said to drop it").to_string();
        assert!(dropped.contains(what) && dropped.contains("table ip filter"), "{dropped}");
        node.host.sh("nft delete table ip filter");
    }
    let from = point.vantage.address;
    let quiet = node.host.run(move || block_on(trace::dropped(from, async { Ok(()) })));
    assert_eq!(quiet, None);
}

/// Another bridge with a container on it.
fn second_bridge(node: &Node) -> Netns {
    let container = Netns::new();
    node.host.sh(&format!(
        "ip link add br1 type bridge; ip addr add 172.31.0.1/24 dev br1; ip link set br1 up
         ip link add other type veth peer name eth0 netns {}; ip link set other master br1; ip link set other up",
        container.path()
    ));
    container.sh("ip addr add 172.31.0.10/24 dev eth0; ip link set eth0 up; ip route add default via 172.31.0.1");
    container
}

/// Follows roads in the host's namespace.
fn follow_roads(host: &Netns, plane: &Plane, kept: &Kept) -> watch::Receiver<ClosedRoads> {
    let (out, closed) = watch::channel(ClosedRoads::default());
    let (vantages, state) = (kept.vantages.clone(), plane.handle.state());
    host.serve(move || roads::follow(vantages, state, out));
    closed
}

#[test]
fn what_a_firewall_drops_between_bridges_is_found_and_refused_at_once() {
    for bridge_nf in [false, true] {
        found_and_refused(bridge_nf);
    }
}

fn found_and_refused(bridge_nf: bool) {
    let node = Node::new(bridge_nf);
    let other = second_bridge(&node);
    let there: IpAddr = [172, 31, 0, 10].into();
    serve(&other, "there", 8080);
    serve(node.container(1), "here", 8080);
    // As Docker isolates its networks, one way.
    node.host.sh("nft 'table ip filter { chain FORWARD { type filter hook forward priority filter;
        iifname br0 oifname br1 ct state new drop; }; }'");
    let service = |l4| (frontend(1, l4, 80), slots(&[(there, 8080)]));
    let back = (frontend(2, L4::Tcp, 80), slots(&[(super::node::address(1), 8080)]));
    let services = || ruleset([service(L4::Tcp), service(L4::Udp), back.clone()]);
    let plane = Plane::start(&node.host);
    plane.apply(with_vantages(&["br0", "br1"], services()));
    let mut kept = Kept::start(&node.host, &plane);
    kept.point("br0");
    kept.point("br1");
    let mut closed = follow_roads(&node.host, &plane, &kept);
    let road = (name("br0"), name("br1"));
    let found = block_on(async {
        tokio::time::timeout(PATIENCE, closed.wait_for(|closed| !closed.is_empty())).await.unwrap().unwrap().clone()
    });
    assert_eq!(found.keys().collect::<Vec<_>>(), [&road], "{found:?}");
    assert!(found[&road].contains("rule 2 of chain FORWARD in table ip filter"), "{found:?}");

    let silent = dial_silent(&node, frontend(1, L4::Tcp, 80));
    assert_eq!(silent, ErrorKind::TimedOut, "what it is like without");
    let refusing = Ruleset { closed: [road].into_iter().collect(), ..services() };
    plane.apply(with_vantages(&["br0", "br1"], refusing));
    for l4 in [L4::Tcp, L4::Udp] {
        assert_eq!(dial(node.container(0), frontend(1, l4, 80)).unwrap_err(), ErrorKind::ConnectionRefused, "{l4}");
        assert_eq!(dial(&node.host, frontend(1, l4, 80)).unwrap().name, "there", "the host has a way, {l4}");
    }
    assert_eq!(dial(&other, frontend(2, L4::Tcp, 80)).unwrap().name, "here", "the way back is open");

    // The agent goes on trying, past its own rule.
    node.host.sh("nft delete table ip filter");
    let mut kept = kept;
    let all = kept.vantages.borrow_and_update().clone();
    let (again, vantages) = watch::channel(all);
    let (out, mut closed) = watch::channel(found);
    let state = plane.handle.state();
    node.host.serve(move || roads::follow(vantages, state, out));
    block_on(async {
        tokio::time::timeout(PATIENCE, closed.wait_for(OrdMap::is_empty)).await.unwrap().map(drop).unwrap()
    });
    drop(again);
}

fn dial_silent(node: &Node, to: crate::model::Frontend) -> ErrorKind {
    node.container(0).run(move || dial_within(to, SHORT)).unwrap_err()
}

#[test]
fn vantages_come_and_go_with_bridges_and_nothing_is_left() {
    let node = Node::new(false);
    let _other = second_bridge(&node);
    let plane = Plane::start(&node.host);
    // A route that an agent left which was killed.
    node.host.sh("ip route add 240.240.255.200/32 dev br0 proto 109; ip link add br-none type bridge");
    plane.apply(with_vantages(&["br0", "br1", "br-none", "gone"], ruleset([])));
    let mut kept = Kept::start(&node.host, &plane);
    let (first, second) = (kept.point("br0"), kept.point("br1"));
    assert_ne!(first.vantage, second.vantage);
    let all = kept.vantages.borrow().clone().unwrap();
    assert_eq!(all.len(), 2, "where nobody has a way to the host nothing is tried: {all:?}");
    let routes = |host: &Netns| host.sh("ip route show proto 109");
    assert!(!routes(&node.host).contains("255.200") && routes(&node.host).lines().count() == 2);

    // Somebody else takes one away.
    let of_first = first.vantage.address.to_string();
    let link = format!("meshdog{}", of_first.rsplit('.').next().unwrap());
    node.host.sh(&format!("ip link del {link}"));
    let anew = |all: &Option<Vantages>| {
        let now = all.as_ref().and_then(|all| all.get(&name("br0"))).and_then(|point| point.as_ref().ok());
        now.is_some_and(|now| now.netns.id() != first.netns.id())
    };
    block_on(async { tokio::time::timeout(PATIENCE, kept.vantages.wait_for(anew)).await.unwrap().map(drop).unwrap() });

    let rulesets = plane.rulesets.borrow().clone().unwrap();
    assert_eq!(rulesets[&View::Node].vantages.len(), 4);
    plane.apply(with_vantages(&["br1"], ruleset([])));
    until("the vantage has gone", || !node.host.sh("ip -o link show master br0").contains("meshdog"));
    kept.stop.cancel();
    kept.ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(routes(&node.host), "");
    assert!(!node.host.sh("ip -o link").contains("meshdog"));

    node.host.sh("ip route add 240.240.255.200/32 dev br0 proto 109");
    node.host.run(|| block_on(uninstall())).unwrap();
    assert_eq!(routes(&node.host), "");
}
