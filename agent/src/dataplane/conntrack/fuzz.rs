//! What must hold of every event of a flow.

use std::net::SocketAddr;

use super::events;
use super::{
    BYTES, COUNTERS_ORIG, COUNTERS_REPLY, IP_DESTINATION, IP_SOURCE, MSG_DELETE, MSG_NEW, PACKETS, PROTO_DESTINATION,
    PROTO_NUMBER, PROTO_SOURCE, PROTOINFO, PROTOINFO_TCP, SEEN_REPLY, STATUS, TCP_STATE, TUPLE_IP, TUPLE_ORIG,
    TUPLE_PROTO, TUPLE_REPLY,
};
use crate::dataplane::netlink::{Message, Writer, messages, nfproto};
use crate::model::address::octets;
use crate::model::{Counters, Family, FlowEvent, FlowKind, L4};

/// A flow that is read from a message, whatever kind of event that is, reads the same when it is written as the kernel
/// would.
pub(in crate::dataplane) fn flows(message: &Message<'_>) {
    for kind in [MSG_NEW, MSG_DELETE] {
        let Some(event) = events::read(&Message { kind, ..*message }) else { continue };
        let mut w = Writer::default();
        w.message(kind, 0, 1, (nfproto(event.flow.frontend.family()), 0), |w| write(w, &event));
        let again = messages(w.bytes()).next().and_then(|message| events::read(&message));
        assert_eq!(again, Some(event));
    }
}

fn write(w: &mut Writer, FlowEvent { kind, flow }: &FlowEvent) {
    w.nest(TUPLE_ORIG, |w| tuple(w, flow.frontend.l4, flow.client, flow.frontend.address()));
    w.nest(TUPLE_REPLY, |w| tuple(w, flow.frontend.l4, flow.endpoint, flow.client));
    let FlowKind::Destroyed { replied, tcp, sent, received } = kind else { return };
    w.be32(STATUS, if *replied { SEEN_REPLY } else { 0 });
    if let Some(state) = tcp {
        w.nest(PROTOINFO, |w| w.nest(PROTOINFO_TCP, |w| w.attr(TCP_STATE, &[state.0])));
    }
    for (kind, counters) in [(COUNTERS_ORIG, sent), (COUNTERS_REPLY, received)] {
        if let Some(Counters { packets, bytes }) = counters {
            w.nest(kind, |w| {
                w.attr(PACKETS, &packets.to_be_bytes());
                w.attr(BYTES, &bytes.to_be_bytes());
            });
        }
    }
}

fn tuple(w: &mut Writer, l4: L4, source: SocketAddr, destination: SocketAddr) {
    w.nest(TUPLE_IP, |w| {
        let kind = |[v4, v6]: [u16; 2], address: SocketAddr| match Family::of(address.ip()) {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        w.attr(kind(IP_SOURCE, source), &octets(source.ip()));
        w.attr(kind(IP_DESTINATION, destination), &octets(destination.ip()));
    });
    w.nest(TUPLE_PROTO, |w| {
        w.attr(PROTO_NUMBER, &[l4.number()]);
        w.attr(PROTO_SOURCE, &source.port().to_be_bytes());
        w.attr(PROTO_DESTINATION, &destination.port().to_be_bytes());
    });
}
