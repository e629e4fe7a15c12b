//! Messages and attributes as bytes, both ways. Reading never trusts a length.

use crate::model::Family;

/// `NLM_F_REQUEST` (linux/netlink.h).
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: the dump saw two generations.
pub(crate) const DUMP_INTR: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: it must not be there yet.
pub(crate) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: at the end of the list.
pub(crate) const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`: the attribute holds attributes.
pub(crate) const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`.
const TYPE_MASK: u16 = 0x3fff;

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` (linux/netfilter/nfnetlink.h).
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`, the batch's subsystem.
pub(crate) const NFTABLES: u16 = 10;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const NFGENMSG: usize = 4;

/// A family's number: `NFPROTO_IPV4`, `NFPROTO_IPV6` (linux/netfilter.h), which are `AF_INET` and `AF_INET6`.
pub(crate) const fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// Appends messages and attributes to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// One message: `nlmsghdr`, `nfgenmsg`, and the attributes that `body` writes.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, seq: u32, nfgen: (u8, u16), body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.0.extend_from_slice(&seq.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        let (family, resource) = nfgen;
        self.0.extend_from_slice(&[family, 0]);
        self.0.extend_from_slice(&resource.to_be_bytes());
        body(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.patch(start, &length.to_ne_bytes());
    }

    /// An attribute with a plain value.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.close(start);
    }

    /// An attribute that holds the attributes that `body` writes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        self.close(start);
    }

    /// A 32-bit number in network order, as nfnetlink wants all of its numbers.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A string with its final zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attr(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Writes the attribute's length and pads to four bytes.
    fn close(&mut self, start: usize) {
        let length = self.0.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "an attribute holds at most 64 KiB");
        self.patch(start, &u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// What was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// nf_tables messages that the kernel applies together or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    writer: Writer,
    seq: u32,
    count: usize,
    last: usize,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        let mut writer = Writer::default();
        writer.message(BATCH_BEGIN, 0, 0, (0, NFTABLES), |_| ());
        Self { writer, seq: 0, count: 0, last: 0 }
    }

    /// Adds a message of the nf_tables subsystem for a family's table.
    pub(crate) fn push(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Writer)) {
        self.seq += 1;
        self.count += 1;
        self.last = self.writer.0.len();
        self.writer.message(NFTABLES << 8 | kind, flags, self.seq, (family, 0), body);
    }

    /// How many messages were pushed.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The bytes that make the kernel apply it. The last message asks to be acknowledged.
    pub(crate) fn commit(mut self) -> Vec<u8> {
        let flags = REQUEST | ACK | self.flags_at(self.last);
        self.writer.patch(self.last + 6, &flags.to_ne_bytes());
        self.writer.message(BATCH_END, 0, self.seq + 1, (0, NFTABLES), |_| ());
        self.writer.0
    }

    /// The bytes that make the kernel check every message and apply none: the batch's end is missing.
    pub(crate) fn rehearsal(self) -> Vec<u8> {
        self.writer.0
    }

    /// The messages without the batch's frame, for a fingerprint.
    pub(crate) fn messages(&self) -> &[u8] {
        self.writer.0.get(HEADER + NFGENMSG..).unwrap_or_default()
    }

    fn flags_at(&self, message: usize) -> u16 {
        self.writer.0.get(message + 6..).and_then(ne16).unwrap_or_default()
    }
}

/// A message that was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Subsystem in the high byte, or a control message's number.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// What follows `nlmsghdr`.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// What follows `nfgenmsg`.
    pub(crate) fn attrs(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        attrs(self.payload.get(NFGENMSG..).unwrap_or_default())
    }

    /// `nfgen_family`.
    pub(crate) fn family(&self) -> Option<u8> {
        self.payload.first().copied()
    }
}

/// The messages of a datagram; ends at the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(ne32(bytes)?).ok()?;
        let message = Message {
            kind: ne16(bytes.get(4..)?)?,
            flags: ne16(bytes.get(6..)?)?,
            seq: ne32(bytes.get(8..)?)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes as (type, value); ends at the first that is cut short.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(ne16(bytes)?);
        let attr = (ne16(bytes.get(2..)?)? & TYPE_MASK, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attr)
    })
}

/// The value of the first attribute of this type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A 32-bit number in network order at the start.
pub(crate) fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

/// A 32-bit number in the host's order at the start.
pub(crate) fn ne32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

fn ne16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests;
