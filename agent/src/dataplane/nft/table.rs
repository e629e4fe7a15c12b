//! Our table's name, and messages about it.

use super::abi::{self, msg};
use crate::dataplane::netlink::{Batch, Writer, wire};

/// The table's name.
pub(crate) const TABLE: &str = "meshdog";

/// Writes which table a message is about: the first attribute of every one.
pub(crate) fn name(w: &mut Writer) {
    w.text(abi::TABLE, TABLE);
}

/// Deletes the table with all that is in it. Created first, so that it can be deleted whether or not it is there.
pub(crate) fn delete(batch: &mut Batch) {
    push(batch, msg::NEWTABLE, wire::CREATE, |_| ());
    push(batch, msg::DELTABLE, 0, |_| ());
}

/// Adds a message about the table or something in it to a batch.
pub(crate) fn push(batch: &mut Batch, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
    batch.push(kind, flags, abi::IPV4, |w| {
        name(w);
        body(w);
    });
}
