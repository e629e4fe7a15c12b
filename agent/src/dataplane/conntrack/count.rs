//! How many connections lead to some endpoints.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;

use super::dump::{Which, walk};
use super::{PROTOINFO, SEEN_REPLY, STATUS, attr, read_tcp_state};
use crate::dataplane::netlink::{Message, NfSocket, be32};
use crate::model::{Family, Flow, L4, TcpState};

/// How many established TCP connections of any client lead to one of these endpoints, whether a VIP was dialled, the
/// endpoint itself, or something else that was translated to it. One that either side has begun to end is no longer
/// established.
///
/// Told by the connection tracking of the calling thread's network namespace, so of what passes through it: connections
/// that were opened through VIPs of this node, that come in from elsewhere and are routed, translated or accepted here,
/// or that the host itself has opened (this agent's probes, while they last). What two containers on one bridge say to each other past every VIP is seen only
/// where netfilter sees bridged packets (`net.bridge.bridge-nf-call-iptables`), and never what bypasses the namespace,
/// as a container's own network interface does. A connection whose ends vanished without a word counts until the
/// kernel forgets it, which may be days: whoever waits for zero needs a deadline.
///
/// # Errors
/// The kernel could not be asked: CAP_NET_ADMIN is missing, or the kernel's nf_conntrack_netlink.
pub async fn count(endpoints: BTreeSet<SocketAddr>) -> io::Result<u64> {
    if endpoints.is_empty() {
        return Ok(0);
    }
    // Opened here: the namespace is this thread's.
    let mut socket = NfSocket::open()?;
    let families: BTreeSet<Family> = endpoints.iter().map(|endpoint| Family::of(endpoint.ip())).collect();
    let look = move || {
        let mut found: HashSet<Flow> = HashSet::new();
        for family in families {
            walk(&mut socket, family, Which::Of(L4::Tcp), |message, flow| {
                if leads_to(flow, &endpoints) && is_established(message) {
                    found.insert(*flow);
                }
            })?;
        }
        Ok(found.len() as u64)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn leads_to(flow: &Flow, endpoints: &BTreeSet<SocketAddr>) -> bool {
    endpoints.contains(&flow.endpoint) || endpoints.contains(&flow.frontend.address())
}

fn is_established(message: &Message<'_>) -> bool {
    let answered = attr(message, STATUS).and_then(be32).is_some_and(|status| status & SEEN_REPLY != 0);
    answered && attr(message, PROTOINFO).and_then(read_tcp_state) == Some(TcpState::ESTABLISHED)
}
