//! Segments to VIPs that connection tracking has no connection for, although they are of one.
//!
//! They are not translated, so they would leave for wherever the VIP range is routed. Nobody there knows them, and whoever
//! answers resets the connection. A lost segment is sent again; so they are dropped. What an *endpoint* sends and conntrack
//! takes for invalid cannot be told from what it says to somebody who dialled it directly, and is left alone.

use super::{DSTNAT, OUTPUT, PREROUTING, Skeleton};
use crate::dataplane::nft::chain::{Chain, Rule};
use crate::dataplane::nft::expr::{Bytes, Expr, R0};

/// `NF_CT_STATE_INVALID_BIT` (linux/netfilter/nf_conntrack_common.h), in the host's order.
const INVALID: u32 = 1;
/// Behind connection tracking, ahead of all translation: `NF_IP_PRI_MANGLE`.
const MANGLE: i32 = DSTNAT - 50;

impl Skeleton {
    /// The chains that drop them. Every packet passes here, so what most of them fail comes first.
    pub(super) fn invalid(&self) -> [Chain; 2] {
        let state = [
            Expr::CtState(R0),
            Expr::Mask(R0, Bytes::new(&INVALID.to_ne_bytes())),
            Expr::Differs(R0, Bytes::new(&0_u32.to_ne_bytes())),
        ];
        let to_service = self.in_range(Expr::DestinationAddress(self.family, R0));
        let rule = || Rule {
            comment: "a segment that no connection is known for",
            expressions: [&to_service[..], &state, &[Expr::Drop]].concat(),
        };
        [("invalid_prerouting", PREROUTING), ("invalid_output", OUTPUT)]
            .map(|(name, hook)| Chain::entrance(name, ("filter", hook, MANGLE), vec![rule()]))
    }
}
