//! The behaviour of every backend, on the kernel's tables.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::node::{Node, answer_tcp, answer_udp, dial};
use crate::dataplane::behaviour::{CONTAINERS_PORT, HOST_PORT, Place, outside, ranges, served, tests_over};
use crate::dataplane::kernel_tests::netns::Netns;
use crate::dataplane::memory::{Client, Fate};
use crate::dataplane::nft::Nft;
use crate::model::{Family, Frontend};

/// A node whose outside answers at every address of the endpoints, and as a name server; the resolver is on the node.
struct InKernel(Node, tokio::runtime::Runtime);

impl Place for InKernel {
    type Backend = Nft;

    fn new() -> Self {
        let node = Node::new(false);
        for port in [8080, 53] {
            // Of both families, and of every address that is routed there.
            say_where_tcp(&node.outside, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        }
        for v6 in [false, true] {
            let one = served(v6, 1);
            add(&node.outside, one.ip());
            say_where_udp(&node.outside, one);
            say_where_udp(&node.outside, SocketAddr::new(outside(v6), 53));
            say_where_udp(&node.outside, SocketAddr::new(one.ip(), 53));
        }
        for range in ranges().iter() {
            add(&node.host, range.resolver());
            for port in [CONTAINERS_PORT, HOST_PORT] {
                let resolver = SocketAddr::new(range.resolver(), port);
                say_where_tcp(&node.host, resolver);
                say_where_udp(&node.host, resolver);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self(node, runtime)
    }

    fn open(&self) -> Nft {
        // The sockets belong to the namespace, whichever thread uses them later; the runtime is the caller's.
        let runtime = tokio::runtime::Handle::current();
        let netns = crate::dataplane::netns::Netns::open(std::path::Path::new(&self.0.host.path())).unwrap();
        netns.run(|| runtime.block_on(async { Nft::open(ranges(), true) })).unwrap().unwrap()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.1.block_on(future)
    }

    fn dial(&self, client: Client, to: Frontend) -> Fate {
        let from = match client {
            Client::Container => self.0.container(0),
            Client::OwnDns => self.0.container(1),
            Client::Host => &self.0.host,
        };
        match dial(from, to) {
            Ok(answer) => Fate::Reaches(answer.at.parse().unwrap()),
            Err(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::PermissionDenied) => Fate::IsRefused,
            Err(error) => panic!("{client:?} {to:?}: {error}"),
        }
    }

    fn flush(&self) {
        self.0.host.sh("nft flush ruleset");
    }

    fn tamper(&self) {
        self.0.host.sh("nft flush set ip meshdog bridges");
    }
}

/// Adds an address that can be bound at once.
fn add(ns: &Netns, address: IpAddr) {
    let flag = if address.is_ipv6() { "nodad" } else { "" };
    ns.sh(&format!("ip addr add {address}/{} dev lo {flag}", Family::of(address).bits()));
}

/// Says to each connection where it came to.
fn say_where_tcp(ns: &Netns, on: SocketAddr) {
    answer_tcp(ns, on, |at, _| format!("tcp {} -", SocketAddr::new(at.ip().to_canonical(), at.port())));
}

/// Says to each datagram where it came to.
fn say_where_udp(ns: &Netns, on: SocketAddr) {
    answer_udp(ns, on, move |_| format!("udp {on} -"));
}

tests_over!(InKernel);
