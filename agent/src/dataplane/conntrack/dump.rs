//! A look at every flow that is tracked in the network namespace.

use std::io;

use super::{DST_NAT, MSG_GET, PROTO_NUMBER, STATUS, TUPLE_ORIG, TUPLE_PROTO, read_flow};
use crate::dataplane::netlink::{Message, NfSocket, nfproto};
use crate::model::{Family, Flow, L4};

/// `CTA_FILTER` (`enum ctattr_type`), `CTA_FILTER_ORIG_FLAGS` (`enum ctattr_filter`) and the kernel's
/// `CTA_FILTER_F_CTA_PROTO_NUM`: the dump is of one protocol. Kernels before 5.8 take no notice and dump all.
const FILTER: u16 = 25;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_PROTO_NUMBER: u32 = 1 << 3;

/// Which flows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    All,
    /// Those of one transport.
    Of(L4),
    /// Those that the kernel says were led elsewhere than where they were sent. A kernel that does not filter by that
    /// shows all.
    Redirected,
}

/// Shows every such flow of a family with the message that tells of it. A flow that begins or ends meanwhile may be
/// missed, and any may be shown twice. Takes long where there are many: to be called where blocking is allowed.
pub(super) fn walk(
    socket: &mut NfSocket,
    family: Family,
    which: Which,
    mut each: impl FnMut(&Message<'_>, &Flow),
) -> io::Result<()> {
    socket.walk(
        MSG_GET,
        nfproto(family),
        |w| match which {
            Which::All => {}
            Which::Of(l4) => {
                w.nest(FILTER, |w| w.attr(FILTER_ORIG_FLAGS, &FILTER_PROTO_NUMBER.to_ne_bytes()));
                w.nest(TUPLE_ORIG, |w| w.nest(TUPLE_PROTO, |w| w.attr(PROTO_NUMBER, &[l4.number()])));
            }
            Which::Redirected => w.be32(STATUS, DST_NAT),
        },
        |message| {
            let asked = |flow: &Flow| !matches!(which, Which::Of(l4) if l4 != flow.frontend.l4);
            if let Some(flow) = read_flow(message).filter(asked) {
                each(message, &flow);
            }
        },
    )
}
