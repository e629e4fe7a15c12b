use std::sync::Arc;

use super::clean::is_stale;
use super::*;
use crate::dataplane::netlink::{Writer, messages, nfproto, wire};
use crate::model::{Family, Ruleset, VipRanges};

fn endpoint(last: u8) -> SocketAddr {
    SocketAddr::new([10, 0, 0, last].into(), 8080)
}

fn flow(l4: L4, vip: IpAddr, endpoint: SocketAddr) -> Flow {
    let client = SocketAddr::new([172, 17, 0, 2].into(), 40000);
    Flow { client, frontend: Frontend { vip, l4, port: NonZeroU16::new(53).unwrap() }, endpoint }
}

#[test]
fn flows_that_lead_nowhere_are_stale() {
    let ranges = VipRanges::default();
    let range = ranges.v4();
    let (served, unserved) = (range.nth(1), range.nth(2));
    let frontends = [L4::Udp, L4::Tcp].map(|l4| (flow(l4, served, endpoint(1)).frontend, Arc::from([endpoint(1)])));
    let draining = [endpoint(3)].into_iter().collect();
    let ruleset = Ruleset { frontends: frontends.into_iter().collect(), draining, ..Ruleset::default() };
    let stale = |l4, vip, endpoint| is_stale(&flow(l4, vip, endpoint), ranges, &ruleset);
    assert!(!stale(L4::Udp, served, endpoint(1)));
    assert!(stale(L4::Udp, served, endpoint(2)), "not an endpoint any more");
    assert!(!stale(L4::Udp, served, endpoint(3)), "it drains, and still answers");
    assert!(stale(L4::Udp, served, SocketAddr::new(served, 53)), "never translated");
    assert!(stale(L4::Udp, unserved, endpoint(1)), "the whole service is gone");
    assert!(!stale(L4::Udp, [10, 0, 0, 9].into(), endpoint(2)), "not ours");
    assert!(!stale(L4::Tcp, served, endpoint(2)), "TCP ends by itself");
    assert!(stale(L4::Tcp, served, SocketAddr::new(served, 53)), "unless it never was translated");
}

#[test]
fn flows_of_other_protocols_and_cut_messages_are_nothing() {
    let mut w = Writer::default();
    let tuple = |w: &mut Writer, protocol: u8| {
        w.nest(TUPLE_IP, |w| {
            w.attr(IP_SOURCE[0], &[172, 17, 0, 2]);
            w.attr(IP_DESTINATION[0], &[198, 19, 0, 3]);
        });
        w.nest(TUPLE_PROTO, |w| {
            w.attr(PROTO_NUMBER, &[protocol]);
            w.attr(PROTO_SOURCE, &[1, 2]);
            w.attr(PROTO_DESTINATION, &[0, 53]);
        });
    };
    for protocol in [17, 1, 132] {
        w.message(MSG_NEW, 0, 1, (nfproto(Family::V4), 0), |w| {
            w.nest(TUPLE_ORIG, |w| tuple(w, protocol));
            w.nest(TUPLE_REPLY, |w| tuple(w, protocol));
        });
    }
    let read: Vec<_> = messages(w.bytes()).map(|message| read_flow(&message)).collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].unwrap().client, SocketAddr::new([172, 17, 0, 2].into(), 0x0102));
    assert_eq!(read[1..], [None, None]);
    for length in 0..w.bytes().len() {
        messages(&w.bytes()[..length])
            .for_each(|message| assert!(read_flow(&message).is_none_or(|flow| flow.frontend.l4 == L4::Udp)));
    }
    assert_eq!(wire::messages(&[0; 64]).count(), 0, "a message of no length ends it");
}

#[test]
fn flows_over_ipv6_are_read_as_those_over_ipv4() {
    let (client, vip): (IpAddr, IpAddr) = ("fd00::2".parse().unwrap(), VipRanges::DEFAULT_V6.nth(3));
    let octets = |address: IpAddr| crate::model::address::octets(address);
    let mut w = Writer::default();
    w.message(MSG_NEW, 0, 1, (nfproto(Family::V6), 0), |w| {
        for (kind, from, to) in [(TUPLE_ORIG, client, vip), (TUPLE_REPLY, "fd00::9".parse().unwrap(), client)] {
            w.nest(kind, |w| {
                w.nest(TUPLE_IP, |w| {
                    w.attr(IP_SOURCE[1], &octets(from));
                    w.attr(IP_DESTINATION[1], &octets(to));
                });
                w.nest(TUPLE_PROTO, |w| {
                    w.attr(PROTO_NUMBER, &[6]);
                    w.attr(PROTO_SOURCE, &[1, 2]);
                    w.attr(PROTO_DESTINATION, &[0, 80]);
                });
            });
        }
    });
    let flow = messages(w.bytes()).find_map(|message| read_flow(&message)).unwrap();
    assert_eq!((flow.client.to_string(), flow.endpoint.to_string()), ("[fd00::2]:258".into(), "[fd00::9]:258".into()));
    assert_eq!((flow.frontend.address(), flow.frontend.l4), (SocketAddr::new(vip, 80), L4::Tcp));
}
