//! The data plane on the real kernel: a node with a bridge, containers and neighbours in network namespaces.

use std::net::{IpAddr, SocketAddr};

use crate::model::{Frontend, IfName, L4, RESOLVER_PORT, Ruleset, Slots, VipCidr, VipRanges};

mod behaviour;
mod capture;
mod census;
mod connections;
mod flows;
mod namespaces;
pub(crate) mod netns;
mod node;
mod ownership;
mod refusals;
mod segments;
mod traffic;
mod vantages;

/// The ranges of both families, each of which has a table.
fn ranges() -> VipRanges {
    VipRanges::default()
}

fn range() -> VipCidr {
    ranges().v4()
}

fn frontend(index: u32, l4: L4, port: u16) -> Frontend {
    Frontend { vip: range().nth(index), l4, port: port.try_into().unwrap() }
}

fn slots(endpoints: &[(IpAddr, u16)]) -> Slots {
    endpoints.iter().map(|(address, port)| SocketAddr::new(*address, *port)).collect()
}

/// A ruleset of a node with the bridge `br0`.
fn ruleset(frontends: impl IntoIterator<Item = (Frontend, Slots)>) -> Ruleset {
    Ruleset {
        frontends: frontends.into_iter().collect(),
        locals: (0..node::CONTAINERS).map(node::address).collect(),
        bridges: [IfName::new("br0").unwrap()].into_iter().collect(),
        resolvers: [(node::OUTSIDE, RESOLVER_PORT)].into_iter().collect(),
        ..Ruleset::default()
    }
}
