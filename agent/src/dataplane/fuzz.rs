//! What must hold of whatever comes over netlink: the elements of a dump, and the events of flows.

use super::conntrack;
use super::netlink::{Batch, Writer, attrs, messages};
use super::nft::element::{self, Element, Op};
use crate::model::Family;

/// How deep attributes lie in what the kernel sends.
const DEPTH: usize = 5;

/// A datagram, or a dump of many.
pub fn netlink(bytes: &[u8]) {
    assert!(messages(bytes).count() <= bytes.len() / 16, "a message takes at least its header");
    for message in messages(bytes) {
        nested(message.payload.get(4..).unwrap_or_default(), DEPTH);
        for element in element::read(&message).into_iter().flatten() {
            elements_read_back(&element);
        }
        conntrack::fuzz::flows(&message);
    }
    nested(bytes, DEPTH);
}

/// Attributes lie within their bytes, and read the same when they are written again.
fn nested(bytes: &[u8], depth: usize) {
    let mut w = Writer::default();
    let mut size = 0;
    for (kind, value) in attrs(bytes) {
        size += 4 + value.len();
        w.attr(kind, value);
        if depth > 0 {
            nested(value, depth - 1);
        }
    }
    assert!(size <= bytes.len(), "attributes hold more than there is");
    assert!(attrs(w.bytes()).eq(attrs(bytes)));
}

fn elements_read_back(element: &Element) {
    for op in [Op::Add(element.clone()), Op::Delete(element.clone())] {
        let mut batch = Batch::new();
        element::write(&mut batch, element.family().unwrap_or(Family::V4), &op);
        let bytes = batch.commit();
        let read: Vec<_> = messages(&bytes).flat_map(|message| element::read(&message)).collect();
        // What is deleted is named by its key alone, which is no whole element of a map.
        let is_key = matches!((&op, element), (Op::Delete(_), Element::Service(..) | Element::Slot(..)));
        assert_eq!(read, [(!is_key).then(|| element.clone())], "{op:?}");
    }
}
