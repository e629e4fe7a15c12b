//! Flows to VIPs as they begin and end.
//!
//! What they tell of endpoints: a refused TCP connect is a begin, then at once an end in state CLOSE without an answer;
//! a connect that meets silence is a begin and then nothing, until the table's timeout for a SYN (1 s) ends it.

use std::io;

use nix::libc;
use socket2::SockFilter;
use tracing::warn;

use super::{
    COUNTERS_ORIG, COUNTERS_REPLY, IPV4, MSG_DELETE, MSG_NEW, PROTOINFO, SEEN_REPLY, STATUS, attr, read_counters,
    read_flow, read_tcp_state,
};
use crate::dataplane::netlink::{Listener, Message, be32, bpf, messages};
use crate::model::{Flow, FlowKind, VipCidr};

/// `NFNLGRP_CONNTRACK_NEW`, `NFNLGRP_CONNTRACK_DESTROY` (linux/netfilter/nfnetlink.h).
const GROUPS: [u32; 2] = [1, 3];
/// Room for events that were not read yet, some ten thousand; then events are lost, and a warning says so.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Where in an event the family (`nfgen_family`) and the original destination lie: `nlmsghdr` (16), `nfgenmsg` (4), and
/// the headers of CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC with its value, CTA_IP_V4_DST. The kernel writes them
/// first, in this order (`ctnetlink_conntrack_event`, `ctnetlink_dump_tuples`).
const FAMILY_AT: u32 = 16;
const DESTINATION_AT: u32 = 40;

/// Listens to the events of flows to VIPs. The kernel drops all others before they reach the agent.
#[derive(Debug)]
pub struct FlowEvents {
    listener: Listener,
    /// How often the kernel had no room for events, and dropped some.
    pub(in crate::dataplane) lost: u64,
}

impl FlowEvents {
    /// Listens from now on, in the calling thread's network namespace. Must be called within a runtime.
    ///
    /// # Errors
    /// No socket: CAP_NET_ADMIN is missing, or the kernel's nf_conntrack_netlink.
    pub fn open(range: VipCidr) -> io::Result<Self> {
        Ok(Self { listener: Listener::open(&GROUPS, RECEIVE_BUFFER, &program(range))?, lost: 0 })
    }

    /// The next event. Safe to cancel. To be read steadily: the kernel keeps a bounded number and drops the rest.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn next(&mut self) -> io::Result<(FlowKind, Flow)> {
        loop {
            match self.listener.next().await {
                // ctnetlink sends one event in a datagram.
                Ok(datagram) => {
                    if let Some(event) = messages(datagram).next().and_then(|message| read(&message)) {
                        return Ok(event);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.lost += 1;
                    // Now and then: it comes again and again where it comes at all.
                    if self.lost.is_power_of_two() {
                        warn!(times = self.lost, "conntrack events were lost; connections and failures go uncounted");
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A classic BPF program (linux/filter.h) that passes IPv4 events whose original destination is in the range.
fn program(range: VipCidr) -> [SockFilter; 7] {
    let net = range.net();
    [
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, FAMILY_AT),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, 4, u32::from(IPV4)),
        SockFilter::new(bpf::LOAD_WORD, 0, 0, DESTINATION_AT),
        SockFilter::new(bpf::AND, 0, 0, net.netmask().into()),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, 1, net.network().into()),
        SockFilter::new(bpf::RETURN, 0, 0, u32::MAX),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
    ]
}

pub(super) fn read(message: &Message<'_>) -> Option<(FlowKind, Flow)> {
    let kind = match message.kind {
        MSG_NEW => FlowKind::New,
        MSG_DELETE => FlowKind::Destroyed {
            replied: attr(message, STATUS).and_then(be32)? & SEEN_REPLY != 0,
            tcp: attr(message, PROTOINFO).and_then(read_tcp_state),
            sent: attr(message, COUNTERS_ORIG).and_then(read_counters),
            received: attr(message, COUNTERS_REPLY).and_then(read_counters),
        },
        _ => return None,
    };
    Some((kind, read_flow(message)?))
}
