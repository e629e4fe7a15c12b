//! Rule expressions, typed, and their encoding. One variant for each kind that the skeleton uses.

use super::abi::{LIST_ELEM, data};
use crate::dataplane::netlink::Writer;

/// A 32-bit register. Keys of several parts lie in consecutive registers, each part padded to four bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reg(u32);

/// `NFT_REG32_00`, and the registers after it.
pub(crate) const R0: Reg = Reg(8);
pub(crate) const R1: Reg = Reg(9);
pub(crate) const R2: Reg = Reg(10);
pub(crate) const R3: Reg = Reg(11);
/// The fifth 32-bit register: where an interface name (16 bytes) in [`R0`] ends.
pub(crate) const R4: Reg = Reg(12);

/// Registers and verdict are one address space: `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// One expression of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expr {
    /// `ip saddr`.
    SourceAddress(Reg),
    /// `ip daddr`.
    DestinationAddress(Reg),
    /// `th sport`.
    SourcePort(Reg),
    /// `th dport`.
    DestinationPort(Reg),
    /// A `meta` key.
    Meta(Meta, Reg),
    /// `meta priority set`.
    SetPriority(Reg),
    /// `ct original ip daddr`.
    OriginalDestination(Reg),
    /// `ct zone`.
    Zone(Reg),
    /// `ct zone set`; both bytes in the host's order.
    SetZone(Reg),
    /// Ends the rule unless the register begins with these bytes.
    Equals(Reg, Bytes),
    /// Keeps these bits of a 32-bit register.
    Mask(Reg, [u8; 4]),
    /// Puts these bytes into a register.
    Load(Reg, Bytes),
    /// Ends the rule unless the key is in the set.
    In(&'static str, Reg),
    /// Puts what the map holds for the key into a register; ends the rule if it holds nothing.
    Map { map: &'static str, key: Reg, to: Reg },
    /// Goes where the map says for the key; ends the rule if it says nothing.
    VerdictMap(&'static str, Reg),
    /// `numgen random mod`.
    Draw { below: u32, to: Reg },
    /// `dnat to` the address and port in these registers.
    Dnat { address: Reg, port: Reg },
    /// `masquerade`.
    Masquerade,
    /// `reject with tcp reset`.
    Reset,
    /// `reject with icmp port-unreachable`.
    Unreachable,
    /// `goto`.
    Goto(&'static str),
    /// `return`: what follows in this chain is not for this packet.
    Return,
}

/// Bytes of a constant, at most four.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(u8, [u8; 4]);

impl Bytes {
    /// All four.
    pub(crate) fn four(bytes: [u8; 4]) -> Self {
        Self(4, bytes)
    }

    /// The first two.
    pub(crate) fn two([a, b]: [u8; 2]) -> Self {
        Self(2, [a, b, 0, 0])
    }

    /// The first one.
    pub(crate) fn one(byte: u8) -> Self {
        Self(1, [byte, 0, 0, 0])
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
            Self::SourceAddress(_) | Self::DestinationAddress(_) => "payload",
            Self::SourcePort(_) | Self::DestinationPort(_) => "payload",
            Self::Meta(..) | Self::SetPriority(_) => "meta",
            Self::OriginalDestination(_) | Self::Zone(_) | Self::SetZone(_) => "ct",
            Self::Equals(..) => "cmp",
            Self::Mask(..) => "bitwise",
            Self::Load(..) | Self::Goto(_) | Self::Return => "immediate",
            Self::In(..) | Self::Map { .. } | Self::VerdictMap(..) => "lookup",
            Self::Draw { .. } => "numgen",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reset | Self::Unreachable => "reject",
        }
    }

    /// What a kernel must have for it, in nft's words.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::OriginalDestination(_) => "ct original ip daddr",
            Self::Zone(_) | Self::SetZone(_) => "ct zone",
            Self::Map { .. } | Self::VerdictMap(..) => "map",
            Self::Dnat { .. } => "dnat",
            Self::Reset => "reject with tcp reset",
            Self::Unreachable => "reject with icmp",
            Self::Draw { .. } => "numgen random",
            Self::Goto(_) => "goto",
            other => other.name(),
        }
    }

    fn write_attrs(self, w: &mut Writer) {
        match self {
            // struct iphdr (linux/ip.h), struct udphdr and tcphdr
            Self::SourceAddress(to) => payload(w, NETWORK_HEADER, 12, 4, to),
            Self::DestinationAddress(to) => payload(w, NETWORK_HEADER, 16, 4, to),
            Self::SourcePort(to) => payload(w, TRANSPORT_HEADER, 0, 2, to),
            Self::DestinationPort(to) => payload(w, TRANSPORT_HEADER, 2, 2, to),
            // NFTA_META_DREG or NFTA_META_SREG, NFTA_META_KEY
            Self::Meta(key, to) => pairs(w, &[(1, to.0), (2, key as u32)]),
            Self::SetPriority(from) => pairs(w, &[(3, from.0), (2, Meta::Priority as u32)]),
            // NFTA_CT_DREG, NFTA_CT_KEY: NFT_CT_DST_IP, NFTA_CT_DIRECTION: IP_CT_DIR_ORIGINAL
            Self::OriginalDestination(to) => {
                pairs(w, &[(1, to.0), (2, 20)]);
                w.attr(3, &[0]);
            }
            // NFTA_CT_DREG or NFTA_CT_SREG, NFTA_CT_KEY: NFT_CT_ZONE
            Self::Zone(to) => pairs(w, &[(1, to.0), (2, 17)]),
            Self::SetZone(from) => pairs(w, &[(4, from.0), (2, 17)]),
            // NFTA_CMP_SREG, NFTA_CMP_OP: NFT_CMP_EQ, NFTA_CMP_DATA
            Self::Equals(from, bytes) => {
                pairs(w, &[(1, from.0), (2, 0)]);
                value(w, 3, bytes.get());
            }
            // NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR
            Self::Mask(reg, mask) => {
                pairs(w, &[(1, reg.0), (2, reg.0), (3, 4)]);
                value(w, 4, &mask);
                value(w, 5, &[0; 4]);
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
            Self::Return => {
                pairs(w, &[(1, VERDICT)]);
                w.nest(2, |w| w.nest(data::VERDICT, |w| w.be32(data::VERDICT_CODE, data::RETURN)));
            }
            // NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG
            Self::In(set, key) => {
                w.text(1, set);
                pairs(w, &[(2, key.0)]);
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
            // NFTA_NAT_TYPE: NFT_NAT_DNAT, NFTA_NAT_FAMILY: NFPROTO_IPV4, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MIN
            Self::Dnat { address, port } => pairs(w, &[(1, 1), (2, 2), (3, address.0), (5, port.0)]),
            Self::Masquerade => {}
            // NFTA_REJECT_TYPE: NFT_REJECT_TCP_RST
            Self::Reset => pairs(w, &[(1, 1)]),
            // NFTA_REJECT_TYPE: NFT_REJECT_ICMP_UNREACH, NFTA_REJECT_ICMP_CODE: ICMP_PORT_UNREACH (linux/icmp.h)
            Self::Unreachable => {
                pairs(w, &[(1, 0)]);
                w.attr(2, &[3]);
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
