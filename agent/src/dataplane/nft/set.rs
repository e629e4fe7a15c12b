//! Sets and maps of the skeleton, and their encoding.

use super::abi::{comment, msg, set};
use super::table::push;
use crate::dataplane::netlink::{Batch, wire};
use crate::model::Family;
use datatype::{IFNAME, MARK};

/// nft's datatype numbers (`enum datatypes` of nftables' datatype.h); a key of several parts has six bits for each.
pub(super) mod datatype {
    use crate::model::Family;

    /// `TYPE_IPADDR`, `TYPE_IP6ADDR`.
    pub(in super::super) const fn address(family: Family) -> u32 {
        match family {
            Family::V4 => 7,
            Family::V6 => 8,
        }
    }
    pub(in super::super) const PROTOCOL: u32 = 12;
    pub(in super::super) const PORT: u32 = 13;
    pub(in super::super) const MARK: u32 = 19;
    pub(in super::super) const IFNAME: u32 = 41;

    /// A concatenation.
    pub(in super::super) const fn concat(parts: &[u32]) -> u32 {
        match parts {
            [] => 0,
            [rest @ .., last] => concat(rest) << 6 | *last,
        }
    }
}

/// A set or map: type and length in bytes of its keys and of what they map to.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) flags: u32,
    pub(super) key: (u32, u32),
    pub(super) data: Option<(u32, u32)>,
}

impl Set {
    /// Adds the set to the table; `id` is its number within the batch.
    pub(super) fn write(&self, batch: &mut Batch, family: Family, id: u32) {
        push(batch, family, msg::NEWSET, wire::CREATE | wire::EXCL, |w| {
            w.text(set::NAME, self.name);
            w.be32(set::FLAGS, self.flags);
            w.be32(set::KEY_TYPE, self.key.0);
            w.be32(set::KEY_LEN, self.key.1);
            if let Some((kind, length)) = self.data {
                w.be32(set::DATA_TYPE, kind);
                w.be32(set::DATA_LEN, length);
            }
            w.be32(set::ID, id);
            w.attr(set::USERDATA, &self.userdata());
        });
    }

    /// The comment, and how to print: numbers and names that stand alone are in the host's order; parts of a
    /// concatenation are printed by their type.
    fn userdata(&self) -> Vec<u8> {
        let [key, data] = comment::HOST_ENDIAN;
        let alone = |kind| matches!(kind, MARK | IFNAME);
        let mut userdata = comment::encode(comment::SET, self.comment);
        if alone(self.key.0) {
            userdata.extend(key);
        }
        if self.data.is_some_and(|(kind, _)| alone(kind)) {
            userdata.extend(data);
        }
        userdata
    }
}
