//! Rule expressions, typed, and their encoding. One variant for each kind that the skeleton uses.

use super::abi::{LIST_ELEM, data, object};
use crate::dataplane::netlink::{Writer, nfproto};
use crate::model::Family;

/// A 32-bit register. Keys of several parts lie in consecutive registers, each part padded to four bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reg(u32);

/// `NFT_REG32_00`.
pub(crate) const R0: Reg = Reg(8);
/// The fifth 32-bit register: where an interface name (16 bytes) in [`R0`] ends.
pub(crate) const R4: Reg = R0.after(16);

impl Reg {
    /// The first register after so many bytes that begin in this one.
    pub(crate) const fn after(self, bytes: u32) -> Self {
        Self(self.0 + bytes.div_ceil(4))
    }
}

/// Registers and verdict are one address space: `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// `ct state new` (`NF_CT_STATE_BIT`, uapi/linux/netfilter/nf_conntrack_common.h).
pub(crate) const NEW: u32 = 1 << 3;

/// One expression of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expr {
    /// `ip saddr`, `ip6 saddr`.
    SourceAddress(Family, Reg),
    /// `ip daddr`, `ip6 daddr`.
    DestinationAddress(Family, Reg),
    /// `th sport`.
    SourcePort(Reg),
    /// `th dport`.
    DestinationPort(Reg),
    /// A `meta` key.
    Meta(Meta, Reg),
    /// `meta nftrace set`; one byte.
    SetTrace(Reg),
    /// `meta priority set`.
    SetPriority(Reg),
    /// `ct original ip daddr`, `ct original ip6 daddr`.
    OriginalDestination(Family, Reg),
    /// `ct state`; bits in the host's order.
    CtState(Reg),
    /// `ct zone`.
    Zone(Reg),
    /// `ct zone set`; both bytes in the host's order.
    SetZone(Reg),
    /// `ct timeout set` of the object with this name.
    SetTimeout(&'static str),
    /// Ends the rule unless the register begins with these bytes.
    Equals(Reg, Bytes),
    /// Ends the rule if the register begins with these bytes.
    Differs(Reg, Bytes),
    /// Ends the rule unless the register is at least this, byte by byte.
    AtLeast(Reg, Bytes),
    /// Ends the rule unless the register is at most this, byte by byte.
    AtMost(Reg, Bytes),
    /// Keeps these bits of what begins in the register.
    Mask(Reg, Bytes),
    /// Puts these bytes into a register.
    Load(Reg, Bytes),
    /// Ends the rule unless the key is in the set.
    In(&'static str, Reg),
    /// Ends the rule if the key is in the set.
    NotIn(&'static str, Reg),
    /// Puts what the map holds for the key into a register; ends the rule if it holds nothing.
    Map { map: &'static str, key: Reg, to: Reg },
    /// Goes where the map says for the key; ends the rule if it says nothing.
    VerdictMap(&'static str, Reg),
    /// `numgen random mod`.
    Draw { below: u32, to: Reg },
    /// `dnat to` the address and port in these registers.
    Dnat { family: Family, address: Reg, port: Reg },
    /// `masquerade`.
    Masquerade,
    /// `reject with tcp reset`.
    Reset,
    /// `reject with icmp port-unreachable`, `reject with icmpv6 port-unreachable`.
    Unreachable(Family),
    /// `goto`.
    Goto(&'static str),
    /// `drop`.
    Drop,
    /// `return`: what follows in this chain is not for this packet.
    Return,
}

/// Bytes of a constant, at most an IPv6 address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(u8, [u8; 16]);

impl Bytes {
    /// As many as there are, up to sixteen.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut all = [0; 16];
        let length = all.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
        // At most sixteen.
        Self(length as u8, all)
    }

    fn get(&self) -> &[u8] {
        self.1.get(..usize::from(self.0)).unwrap_or_default()
    }
}

/// `enum nft_meta_keys`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meta {
    Priority = 2,
    Mark = 3,
    IifName = 6,
    OifName = 7,
    L4Proto = 16,
}

impl Expr {
    /// Appends the expression: its name, then its attributes.
    pub(crate) fn write(self, w: &mut Writer) {
        // NFTA_EXPR_NAME, NFTA_EXPR_DATA
        w.nest(LIST_ELEM, |w| {
            w.text(1, self.name());
            w.nest(2, |w| self.write_attrs(w));
        });
    }

    /// The name under which the kernel knows the expression, which is also its module's: `nft_<name>`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SourceAddress(..) | Self::DestinationAddress(..) => "payload",
            Self::SourcePort(_) | Self::DestinationPort(_) => "payload",
            Self::Meta(..) | Self::SetPriority(_) | Self::SetTrace(_) => "meta",
            Self::OriginalDestination(..) | Self::CtState(_) | Self::Zone(_) | Self::SetZone(_) => "ct",
            Self::SetTimeout(_) => "objref",
            Self::Equals(..) | Self::Differs(..) | Self::AtLeast(..) | Self::AtMost(..) => "cmp",
            Self::Mask(..) => "bitwise",
            Self::Load(..) | Self::Goto(_) | Self::Drop | Self::Return => "immediate",
            Self::In(..) | Self::NotIn(..) | Self::Map { .. } | Self::VerdictMap(..) => "lookup",
            Self::Draw { .. } => "numgen",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reset | Self::Unreachable(_) => "reject",
        }
    }

    /// What a kernel must have for it, in nft's words.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::OriginalDestination(..) => "ct original ip daddr",
            Self::CtState(_) => "ct state",
            Self::Zone(_) | Self::SetZone(_) => "ct zone",
            Self::SetTimeout(_) => "ct timeout",
            Self::Map { .. } | Self::VerdictMap(..) => "map",
            Self::Dnat { .. } => "dnat",
            Self::Reset => "reject with tcp reset",
            Self::Unreachable(_) => "reject with icmp",
            Self::Draw { .. } => "numgen random",
            Self::Goto(_) => "goto",
            other => other.name(),
        }
    }

    fn write_attrs(self, w: &mut Writer) {
        match self {
            // struct iphdr (linux/ip.h), struct ipv6hdr (linux/ipv6.h), struct udphdr and tcphdr
            Self::SourceAddress(Family::V4, to) => payload(w, NETWORK_HEADER, 12, 4, to),
            Self::SourceAddress(Family::V6, to) => payload(w, NETWORK_HEADER, 8, 16, to),
            Self::DestinationAddress(Family::V4, to) => payload(w, NETWORK_HEADER, 16, 4, to),
            Self::DestinationAddress(Family::V6, to) => payload(w, NETWORK_HEADER, 24, 16, to),
            Self::SourcePort(to) => payload(w, TRANSPORT_HEADER, 0, 2, to),
            Self::DestinationPort(to) => payload(w, TRANSPORT_HEADER, 2, 2, to),
            // NFTA_META_DREG or NFTA_META_SREG, NFTA_META_KEY
            Self::Meta(key, to) => pairs(w, &[(1, to.0), (2, key as u32)]),
            Self::SetPriority(from) => pairs(w, &[(3, from.0), (2, Meta::Priority as u32)]),
            // NFTA_META_SREG, NFTA_META_KEY: NFT_META_NFTRACE
            Self::SetTrace(from) => pairs(w, &[(3, from.0), (2, 12)]),
            // NFTA_CT_DREG, NFTA_CT_KEY: NFT_CT_DST_IP or NFT_CT_DST_IP6, NFTA_CT_DIRECTION: IP_CT_DIR_ORIGINAL
            Self::OriginalDestination(family, to) => {
                let key = if family == Family::V4 { 20 } else { 22 };
                pairs(w, &[(1, to.0), (2, key)]);
                w.attr(3, &[0]);
            }
            // NFTA_CT_DREG, NFTA_CT_KEY: NFT_CT_STATE
            Self::CtState(to) => pairs(w, &[(1, to.0), (2, 0)]),
            // NFTA_CT_DREG or NFTA_CT_SREG, NFTA_CT_KEY: NFT_CT_ZONE
            Self::Zone(to) => pairs(w, &[(1, to.0), (2, 17)]),
            Self::SetZone(from) => pairs(w, &[(4, from.0), (2, 17)]),
            // NFTA_OBJREF_IMM_TYPE, NFTA_OBJREF_IMM_NAME
            Self::SetTimeout(name) => {
                pairs(w, &[(1, object::CT_TIMEOUT)]);
                w.text(2, name);
            }
            // enum nft_cmp_ops
            Self::Equals(from, bytes) => compare(w, from, 0, bytes),
            Self::Differs(from, bytes) => compare(w, from, 1, bytes),
            Self::AtMost(from, bytes) => compare(w, from, 3, bytes),
            Self::AtLeast(from, bytes) => compare(w, from, 5, bytes),
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
            Self::Mask(reg, mask) => {
                let mask = mask.get();
                pairs(w, &[(1, reg.0), (2, reg.0), (3, mask.len() as u32)]);
                value(w, 4, mask);
                value(w, 5, &vec![0; mask.len()]);
            }
            // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA
            Self::Load(to, bytes) => {
                pairs(w, &[(1, to.0)]);
                value(w, 2, bytes.get());
            }
            Self::Goto(chain) => {
                pairs(w, &[(1, VERDICT)]);
                w.nest(2, |w| goto(w, chain));
            }
            Self::Drop => {
                pairs(w, &[(1, VERDICT)]);
                w.nest(2, |w| w.nest(data::VERDICT, |w| w.be32(data::VERDICT_CODE, data::DROP)));
            }
            Self::Return => {
                pairs(w, &[(1, VERDICT)]);
                w.nest(2, |w| w.nest(data::VERDICT, |w| w.be32(data::VERDICT_CODE, data::RETURN)));
            }
            // NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG
            Self::In(set, key) => {
                w.text(1, set);
                pairs(w, &[(2, key.0)]);
            }
            // NFTA_LOOKUP_FLAGS: NFT_LOOKUP_F_INV
            Self::NotIn(set, key) => {
                w.text(1, set);
                pairs(w, &[(2, key.0), (5, 1)]);
            }
            Self::Map { map, key, to } => {
                w.text(1, map);
                pairs(w, &[(2, key.0), (3, to.0)]);
            }
            Self::VerdictMap(map, key) => {
                w.text(1, map);
                pairs(w, &[(2, key.0), (3, VERDICT)]);
            }
            // NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_TYPE: NFT_NG_RANDOM
            Self::Draw { below, to } => pairs(w, &[(1, to.0), (2, below), (3, 1)]),
            // NFTA_NAT_TYPE: NFT_NAT_DNAT, NFTA_NAT_FAMILY, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MIN
            Self::Dnat { family, address, port } => {
                pairs(w, &[(1, 1), (2, nfproto(family).into()), (3, address.0), (5, port.0)]);
            }
            Self::Masquerade => {}
            // NFTA_REJECT_TYPE: NFT_REJECT_TCP_RST
            Self::Reset => pairs(w, &[(1, 1)]),
            // NFTA_REJECT_TYPE: NFT_REJECT_ICMP_UNREACH, NFTA_REJECT_ICMP_CODE: ICMP_PORT_UNREACH (linux/icmp.h),
            // ICMPV6_PORT_UNREACH (linux/icmpv6.h)
            Self::Unreachable(family) => {
                pairs(w, &[(1, 0)]);
                w.attr(2, &[if family == Family::V4 { 3 } else { 4 }]);
            }
        }
    }
}

/// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// `NFTA_PAYLOAD_DREG`, `_BASE`, `_OFFSET`, `_LEN`.
fn payload(w: &mut Writer, base: u32, offset: u32, length: u32, to: Reg) {
    pairs(w, &[(1, to.0), (2, base), (3, offset), (4, length)]);
}

/// `NFTA_CMP_SREG`, `_OP`, `_DATA`.
fn compare(w: &mut Writer, from: Reg, op: u32, bytes: Bytes) {
    pairs(w, &[(1, from.0), (2, op)]);
    value(w, 3, bytes.get());
}

fn pairs(w: &mut Writer, pairs: &[(u16, u32)]) {
    pairs.iter().for_each(|(kind, value)| w.be32(*kind, *value));
}

/// A nested `NFTA_DATA_VALUE`.
pub(super) fn value(w: &mut Writer, kind: u16, bytes: &[u8]) {
    w.nest(kind, |w| w.attr(data::VALUE, bytes));
}

/// A `NFTA_DATA_VERDICT` that goes to a chain.
pub(super) fn goto(w: &mut Writer, chain: &str) {
    w.nest(data::VERDICT, |w| {
        w.be32(data::VERDICT_CODE, data::GOTO);
        w.text(data::VERDICT_CHAIN, chain);
    });
}
