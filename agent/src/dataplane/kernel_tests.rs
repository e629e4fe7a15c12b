//! The data plane on the real kernel: a node with a bridge, containers and neighbours in network namespaces.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::model::{Frontend, IfName, L4, Ruleset, Slots, VipCidr};

mod capture;
mod connections;
mod flows;
mod node;
mod ownership;
mod traffic;

fn range() -> VipCidr {
    "198.19.0.0/16".parse().unwrap()
}

fn frontend(index: u32, l4: L4, port: u16) -> Frontend {
    Frontend { vip: range().nth(index), l4, port: port.try_into().unwrap() }
}

fn slots(endpoints: &[(Ipv4Addr, u16)]) -> Slots {
    endpoints.iter().map(|(address, port)| SocketAddrV4::new(*address, *port)).collect()
}

/// A ruleset of a node with the bridge `br0`.
fn ruleset(frontends: impl IntoIterator<Item = (Frontend, Slots)>) -> Ruleset {
    Ruleset {
        frontends: frontends.into_iter().collect(),
        locals: (0..node::CONTAINERS).map(node::address).collect(),
        bridges: [IfName::new("br0").unwrap()].into_iter().collect(),
        resolvers: [node::OUTSIDE].into_iter().collect(),
    }
}
