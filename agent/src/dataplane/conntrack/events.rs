//! Flows to VIPs as they begin and end.
//!
//! What they tell of endpoints: a refused TCP connect is a begin, then at once an end in state CLOSE without an answer;
//! a connect that meets silence is a begin and then nothing, until the table's timeout for a SYN (1 s) ends it.

use std::io;
use std::time::Duration;

use nix::libc;
use socket2::SockFilter;
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    COUNTERS_ORIG, COUNTERS_REPLY, MSG_DELETE, MSG_NEW, PROTOINFO, SEEN_REPLY, STATUS, attr, read_counters, read_flow,
    read_tcp_state,
};
use crate::dataplane::netlink::{Listener, Message, be32, bpf, messages, nfproto};
use crate::model::address::octets;
use crate::model::{Family, FlowEvent, FlowKind, VipCidr, VipRanges};

/// `NFNLGRP_CONNTRACK_NEW`, `NFNLGRP_CONNTRACK_DESTROY` (linux/netfilter/nfnetlink.h).
const GROUPS: [u32; 2] = [1, 3];
/// Room for events that were not read yet, some ten thousand; then events are lost, and a warning says so.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Where in an event the family (`nfgen_family`) and the original destination lie: `nlmsghdr` (16), `nfgenmsg` (4), and
/// the headers of CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC (or CTA_IP_V6_SRC) with its value, CTA_IP_V4_DST (or
/// CTA_IP_V6_DST). The kernel writes them first, in this order (`ctnetlink_conntrack_event`, `ctnetlink_dump_tuples`).
const FAMILY_AT: u32 = 16;
const fn destination_at(family: Family) -> u32 {
    36 + family.bits() as u32 / 8
}

/// Events that may wait for whoever follows them. Beyond that the kernel keeps them, and beyond its bound drops them.
pub const WAITING_EVENTS: usize = 1024;
/// How long to wait before the kernel is asked for events again.
const REOPEN: Duration = Duration::from_secs(5);

/// Tells of flows to VIPs, in the calling thread's network namespace, until nobody listens. Without events nobody is
/// ejected and no connection counted; nothing else is lost.
pub async fn follow(ranges: VipRanges, events: mpsc::Sender<FlowEvent>) {
    loop {
        match FlowEvents::open(ranges) {
            Ok(mut source) => loop {
                match source.next().await {
                    Ok(event) => {
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        warn!(%error, "conntrack events broke off; asking again");
                        break;
                    }
                }
            },
            Err(error) => {
                warn!(%error, "no conntrack events: endpoints are not ejected; allow the module nf_conntrack_netlink");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REOPEN) => {}
            () = events.closed() => return,
        }
    }
}

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
    pub fn open(ranges: VipRanges) -> io::Result<Self> {
        let listener = Listener::open(&GROUPS, RECEIVE_BUFFER, &program(ranges))?;
        Ok(Self { listener, lost: 0 })
    }

    /// The next event. Safe to cancel. To be read steadily: the kernel keeps a bounded number and drops the rest.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn next(&mut self) -> io::Result<FlowEvent> {
        loop {
            match self.listener.next().await {
                // ctnetlink sends one event in a datagram.
                Ok(datagram) => {
                    if let Some(event) = messages(datagram).find_map(|message| read(&message)) {
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

/// A classic BPF program (linux/filter.h) that passes events whose original destination is in one of the ranges.
fn program(ranges: VipRanges) -> Vec<SockFilter> {
    let mut program: Vec<SockFilter> = ranges.iter().flat_map(passes).collect();
    program.push(SockFilter::new(bpf::RETURN, 0, 0, 0));
    program
}

/// The part of the program for one range: goes on behind it where the event is of another family or destination.
fn passes(range: VipCidr) -> Vec<SockFilter> {
    let words = |address| octets(address).chunks(4).filter_map(be32).collect::<Vec<u32>>();
    let (masks, network) = (words(range.net().netmask()), words(range.net().network()));
    let checks = masks.iter().zip(network).zip((destination_at(range.family())..).step_by(4));
    // Three instructions a word, then the one that lets the event pass.
    let left = 3 * masks.len() as u8 + 1;
    let mut part = vec![
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, FAMILY_AT),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, left, nfproto(range.family()).into()),
    ];
    for (word, ((mask, network), at)) in (1..).zip(checks) {
        part.extend([
            SockFilter::new(bpf::LOAD_WORD, 0, 0, at),
            SockFilter::new(bpf::AND, 0, 0, *mask),
            SockFilter::new(bpf::JUMP_IF_EQUAL, 0, left - 3 * word, network),
        ]);
    }
    part.push(SockFilter::new(bpf::RETURN, 0, 0, u32::MAX));
    part
}

pub(super) fn read(message: &Message<'_>) -> Option<FlowEvent> {
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
    Some(FlowEvent { kind, flow: read_flow(message)? })
}
