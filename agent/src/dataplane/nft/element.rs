//! Elements of sets and maps as the kernel has them: every part of a key padded to four bytes, addresses and ports in
//! network order, slots and sizes in the host's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use super::abi::{LIST_ELEM, data, elem, msg};
use super::expr::{goto, value};
use super::table::push;
use crate::dataplane::netlink::{Batch, Message, Writer, attrs, find, wire};
use crate::dataplane::plan::{Element, Op};
use crate::dataplane::size::{ChainSize, chain_for};
use crate::model::net::MAX_IFNAME;
use crate::model::{Frontend, IfName, L4};

/// `IFNAMSIZ` (linux/if.h): a name and its final zero.
const IFNAMSIZ: usize = MAX_IFNAME + 1;

/// Which set or map an element is of.
fn set_of(element: &Element) -> &'static str {
    match element {
        Element::Service(..) => "services",
        Element::Slot(..) => "slots",
        Element::Bridge(_) => "bridges",
        Element::SameBridge(_) => "samebridge",
        Element::Hairpin(_) => "hairpin",
        Element::Resolver(_) => "resolvers",
    }
}

/// The sets and maps that a ruleset is kept in.
pub(crate) const RULESET: [&str; 6] = ["services", "slots", "bridges", "samebridge", "hairpin", "resolvers"];

/// Adds one change to a batch.
pub(crate) fn write(batch: &mut Batch, op: &Op) {
    match op {
        Op::Add(element) => list(batch, msg::NEWSETELEM, wire::CREATE | wire::EXCL, set_of(element), |w| {
            write_key(w, element);
            match element {
                Element::Service(_, size) => value(w, elem::DATA, &size.get().to_ne_bytes()),
                Element::Slot(_, _, to) => value(w, elem::DATA, &endpoint(*to)),
                Element::Bridge(_) | Element::SameBridge(_) | Element::Hairpin(_) | Element::Resolver(_) => {}
            }
        }),
        Op::Delete(element) => list(batch, msg::DELSETELEM, 0, set_of(element), |w| write_key(w, element)),
    }
}

/// Adds the element of `sizes` for a chain.
pub(crate) fn write_size(batch: &mut Batch, size: ChainSize) {
    list(batch, msg::NEWSETELEM, wire::CREATE | wire::EXCL, "sizes", |w| {
        value(w, elem::KEY, &size.get().to_ne_bytes());
        w.nest(elem::DATA, |w| goto(w, &size.chain()));
    });
}

/// Renews `alive`, or ends it. Emptied first: kernels before 6.12 do not prolong an element that is there, and deleting
/// one that has just expired is an error.
pub(crate) fn write_lease(batch: &mut Batch, lease: Option<Duration>) {
    push(batch, msg::DELSETELEM, 0, |w| w.text(elem::LIST_SET, "alive"));
    let Some(lease) = lease else { return };
    for l4 in [L4::Tcp, L4::Udp] {
        list(batch, msg::NEWSETELEM, wire::CREATE | wire::EXCL, "alive", |w| {
            value(w, elem::KEY, &[l4.number()]);
            let milliseconds = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
            w.attr(elem::TIMEOUT, &milliseconds.to_be_bytes());
        });
    }
}

fn list(batch: &mut Batch, kind: u16, flags: u16, set: &str, element: impl FnOnce(&mut Writer)) {
    push(batch, kind, flags, |w| {
        w.text(elem::LIST_SET, set);
        w.nest(elem::LIST_ELEMENTS, |w| w.nest(LIST_ELEM, element));
    });
}

fn write_key(w: &mut Writer, element: &Element) {
    match element {
        Element::Service(to, _) => value(w, elem::KEY, &frontend(*to)),
        Element::Slot(to, slot, _) => value(w, elem::KEY, &[&frontend(*to)[..], &slot.to_ne_bytes()].concat()),
        Element::Bridge(name) => value(w, elem::KEY, &ifname(name)),
        Element::SameBridge(name) => value(w, elem::KEY, &[ifname(name), ifname(name)].concat()),
        Element::Hairpin(address) => value(w, elem::KEY, &[address.octets(), address.octets()].concat()),
        Element::Resolver(address) => value(w, elem::KEY, &address.octets()),
    }
}

fn frontend(Frontend { vip, l4, port }: Frontend) -> [u8; 12] {
    let ([a, b, c, d], [p, q]) = (vip.octets(), port.get().to_be_bytes());
    [a, b, c, d, l4.number(), 0, 0, 0, p, q, 0, 0]
}

fn endpoint(to: SocketAddrV4) -> [u8; 8] {
    let ([a, b, c, d], [p, q]) = (to.ip().octets(), to.port().to_be_bytes());
    [a, b, c, d, p, q, 0, 0]
}

fn ifname(name: &IfName) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    bytes.iter_mut().zip(name.as_str().bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// The elements in a message about a set or map; `None` for one that is not as [`write()`] would have written it.
pub(crate) fn read(message: &Message<'_>) -> Vec<Option<Element>> {
    let lists = |kind| message.attrs().filter(move |(found, _)| *found == kind).map(|(_, bytes)| bytes);
    let Some(set) = lists(elem::LIST_SET).next() else { return Vec::new() };
    lists(elem::LIST_ELEMENTS).flat_map(attrs).map(|(_, element)| read_one(set, element)).collect()
}

fn read_one(set: &[u8], element: &[u8]) -> Option<Element> {
    let part = |kind| find(find(element, kind)?, data::VALUE);
    let key = part(elem::KEY)?;
    match set.strip_suffix(&[0])? {
        b"services" => {
            let size = u32::from_ne_bytes(part(elem::DATA)?.try_into().ok()?);
            let chain = chain_for(usize::try_from(size).ok()?);
            (chain.get() == size).then_some(Element::Service(read_frontend(key)?, chain))
        }
        b"slots" => {
            let (to, slot) = key.split_last_chunk()?;
            Some(Element::Slot(read_frontend(to)?, u32::from_ne_bytes(*slot), read_endpoint(part(elem::DATA)?)?))
        }
        b"bridges" => read_ifname(key).map(Element::Bridge),
        b"samebridge" => {
            let (from, to) = key.split_first_chunk::<IFNAMSIZ>()?;
            (from == to).then(|| read_ifname(from).map(Element::SameBridge)).flatten()
        }
        b"hairpin" => {
            let (from, to) = key.split_first_chunk::<4>()?;
            (from == to).then(|| Element::Hairpin(Ipv4Addr::from(*from)))
        }
        b"resolvers" => Some(Element::Resolver(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?))),
        _ => None,
    }
}

fn read_frontend(key: &[u8]) -> Option<Frontend> {
    let [a, b, c, d, l4, 0, 0, 0, p, q, 0, 0] = *<&[u8; 12]>::try_from(key).ok()? else { return None };
    let port = NonZeroU16::new(u16::from_be_bytes([p, q]))?;
    Some(Frontend { vip: Ipv4Addr::new(a, b, c, d), l4: L4::from_number(l4)?, port })
}

fn read_endpoint(bytes: &[u8]) -> Option<SocketAddrV4> {
    let [a, b, c, d, p, q, 0, 0] = *<&[u8; 8]>::try_from(bytes).ok()? else { return None };
    Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])))
}

fn read_ifname(bytes: &[u8]) -> Option<IfName> {
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    IfName::new(std::str::from_utf8(bytes).ok()?)
}

#[cfg(test)]
mod tests;
