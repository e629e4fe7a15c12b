//! A client's flow to a VIP, as connection tracking tells of it.

use std::net::SocketAddr;

use super::ruleset::Frontend;

/// A flow that a client opened, to a VIP or past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who dialled.
    pub client: SocketAddr,
    /// What was dialled; a VIP, or any other address.
    pub frontend: Frontend,
    /// Who answers: the source of the reply direction. The frontend itself, if the flow was never translated.
    pub endpoint: SocketAddr,
}

/// The state of a TCP flow as conntrack sees it (linux/netfilter/nf_conntrack_tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpState(pub u8);

impl TcpState {
    /// A SYN was sent, and not answered yet.
    pub const SYN_SENT: Self = Self(1);
    /// Both have agreed to it, and neither has begun to end it.
    pub const ESTABLISHED: Self = Self(3);
    /// Both have begun to end it, and the last word is not confirmed yet.
    pub const LAST_ACK: Self = Self(6);
    /// A reset was seen.
    pub const CLOSE: Self = Self(8);

    /// Whether the connection is open: answered, and not ended by both. Neither one that is only remembered, nor one that
    /// was reset.
    #[must_use]
    pub fn is_open(self) -> bool {
        self > Self::SYN_SENT && self <= Self::LAST_ACK
    }
}

/// What passed in one direction. Only where `net.netfilter.nf_conntrack_acct` was on when the flow began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, headers included.
    pub bytes: u64,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowKind {
    /// Its first packet has passed.
    New,
    /// It is tracked no more.
    Destroyed {
        /// Whether an answer was seen. A reset in answer to the first SYN does not count.
        replied: bool,
        /// A TCP flow's last state.
        tcp: Option<TcpState>,
        /// What the client sent.
        sent: Option<Counters>,
        /// What came back.
        received: Option<Counters>,
    },
}

/// Something that happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEvent {
    /// What happened.
    pub kind: FlowKind,
    /// To which flow.
    pub flow: Flow,
}
