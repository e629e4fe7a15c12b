//! Our tables' name, the same in either family, and messages about them.

use super::abi::{self, msg};
use crate::dataplane::netlink::{Batch, Writer, nfproto, wire};
use crate::model::Family;

/// The table's name.
pub(crate) const TABLE: &str = "meshdog";

/// Writes which table a message is about: the first attribute of every one.
pub(crate) fn name(w: &mut Writer) {
    w.text(abi::TABLE, TABLE);
}

/// Deletes the table with all that is in it. Created first, so that it can be deleted whether or not it is there.
pub(crate) fn delete(batch: &mut Batch, family: Family) {
    push(batch, family, msg::NEWTABLE, wire::CREATE, |_| ());
    push(batch, family, msg::DELTABLE, 0, |_| ());
}

/// Adds a message about a family's table or something in it to a batch.
pub(crate) fn push(batch: &mut Batch, family: Family, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
    batch.push(kind, flags, nfproto(family), |w| {
        name(w);
        body(w);
    });
}
