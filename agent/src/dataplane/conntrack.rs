//! Connection tracking: events of flows to VIPs as they begin and end, removal of those that lead nowhere, and how many
//! connections lead to an endpoint, or to a frontend.
//!
//! `events` is how failures of endpoints are seen without a proxy; `clean` follows the data plane's changes; `count` tells how far a drain has come, `census` how many connections
//! services have; `accounting` has bytes counted. Numbers come from `linux/netfilter/nfnetlink_conntrack.h`. TCP
//! connections to an endpoint are never removed: they end by themselves, and gracefully.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::netlink::{Message, attrs, find};
use crate::model::{Counters, Flow, Frontend, L4, TcpState};

pub mod accounting;
mod census;
mod clean;
mod count;
mod dump;
mod events;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;

pub use census::{Census, OpenConnections};
pub(super) use clean::Cleaner;
pub use count::count;
pub use events::{FlowEvents, WAITING_EVENTS, follow};

/// `NFNL_SUBSYS_CTNETLINK << 8` (linux/netfilter/nfnetlink.h) and `enum cntl_msg_types`.
const SUBSYS: u16 = 1 << 8;
const MSG_NEW: u16 = SUBSYS;
const MSG_GET: u16 = SUBSYS | 1;
const MSG_DELETE: u16 = SUBSYS | 2;

/// `enum ctattr_type`.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const COUNTERS_ORIG: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `enum ctattr_tuple`, `enum ctattr_ip`, `enum ctattr_l4proto`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` or `CTA_IP_V6_SRC`, then the destination's.
const IP_SOURCE: [u16; 2] = [1, 3];
const IP_DESTINATION: [u16; 2] = [2, 4];
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE: u16 = 2;
const PROTO_DESTINATION: u16 = 3;
/// `enum ctattr_protoinfo`, `enum ctattr_protoinfo_tcp`.
const PROTOINFO_TCP: u16 = 1;
const TCP_STATE: u16 = 1;
/// `enum ctattr_counters`.
const PACKETS: u16 = 1;
const BYTES: u16 = 2;
/// `IPS_SEEN_REPLY` (linux/netfilter/nf_conntrack_common.h).
const SEEN_REPLY: u32 = 1 << 1;
/// `IPS_DST_NAT`.
const DST_NAT: u32 = 1 << 5;

/// The flow in a ctnetlink message; `None` for another protocol.
fn read_flow(message: &Message<'_>) -> Option<Flow> {
    let (l4, client, dialled) = read_tuple(attr(message, TUPLE_ORIG)?)?;
    let (_, endpoint, _) = read_tuple(attr(message, TUPLE_REPLY)?)?;
    let port = NonZeroU16::new(dialled.port())?;
    Some(Flow { client, frontend: Frontend { vip: dialled.ip(), l4, port }, endpoint })
}

/// Protocol, source, destination.
fn read_tuple(tuple: &[u8]) -> Option<(L4, SocketAddr, SocketAddr)> {
    let (ip, proto) = (find(tuple, TUPLE_IP)?, find(tuple, TUPLE_PROTO)?);
    let address = |[v4, v6]: [u16; 2]| {
        let v4 = find(ip, v4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
        v4.or_else(|| find(ip, v6).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from))
    };
    let port = |kind| find(proto, kind)?.first_chunk().copied().map(u16::from_be_bytes);
    let l4 = L4::from_number(*find(proto, PROTO_NUMBER)?.first()?)?;
    let source = SocketAddr::new(address(IP_SOURCE)?, port(PROTO_SOURCE)?);
    let destination = SocketAddr::new(address(IP_DESTINATION)?, port(PROTO_DESTINATION)?);
    Some((l4, source, destination))
}

fn read_counters(bytes: &[u8]) -> Option<Counters> {
    let counter = |kind| find(bytes, kind)?.first_chunk().copied().map(u64::from_be_bytes);
    Some(Counters { packets: counter(PACKETS)?, bytes: counter(BYTES)? })
}

fn attr<'a>(message: &Message<'a>, kind: u16) -> Option<&'a [u8]> {
    message.attrs().find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The state in `CTA_PROTOINFO`.
fn read_tcp_state(protoinfo: &[u8]) -> Option<TcpState> {
    let tcp = attrs(protoinfo).find(|(kind, _)| *kind == PROTOINFO_TCP).map(|(_, tcp)| tcp)?;
    Some(TcpState(*find(tcp, TCP_STATE)?.first()?))
}

#[cfg(test)]
mod tests;
