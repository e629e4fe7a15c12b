//! Elements of sets and maps, and changes of them, as the kernel has them: every part of a key padded to four bytes,
//! addresses and ports in network order, slots and sizes in the host's.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::abi::{LIST_ELEM, data, elem, msg};
use super::expr::{goto, value};
use super::size::{ChainSize, chain_for};
use super::table::push;
use crate::dataplane::backend::Lease;
use crate::dataplane::netlink::{Batch, Message, Writer, attrs, find, wire};
use crate::model::address::octets;
use crate::model::net::MAX_IFNAME;
use crate::model::{Clients, Family, Frontend, IfName, L4, QueryPath};

/// `IFNAMSIZ` (linux/if.h): a name and its final zero.
const IFNAMSIZ: usize = MAX_IFNAME + 1;

/// An element of one of the table's sets and maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::dataplane) enum Element {
    /// Map `services`: how many slots the draw for this frontend is made over.
    Service(Frontend, ChainSize),
    /// Map `slots`: the endpoint that this slot of the frontend stands for.
    Slot(Frontend, u32, SocketAddr),
    /// Set `bridges`: clients' packets come from this interface.
    Bridge(IfName),
    /// Set `samebridge`: packets that leave by the bridge they came from.
    SameBridge(IfName),
    /// Set `hairpin`: an endpoint that may have dialled itself.
    Hairpin(IpAddr),
    /// Map `resolvers`: the resolver's port for containers' queries to this name server.
    Resolver(IpAddr, u16),
    /// Map `hostresolvers`: the same for the host's own queries.
    HostResolver(IpAddr, u16),
    /// Set `uncaptured`: a container with name servers of its own.
    Uncaptured(IpAddr),
    /// Set `closed`: connections from this bridge to that one come to nothing.
    Closed(IfName, IfName),
}

/// One change of one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dataplane) enum Op {
    /// The element is not there and is added.
    Add(Element),
    /// The element is there, with this value, and is deleted.
    Delete(Element),
}

impl Element {
    /// Which set or map it is of.
    fn set(&self) -> &'static str {
        match self {
            Self::Service(..) => "services",
            Self::Slot(..) => "slots",
            Self::Bridge(_) => "bridges",
            Self::SameBridge(_) => "samebridge",
            Self::Hairpin(_) => "hairpin",
            Self::Resolver(..) => "resolvers",
            Self::HostResolver(..) => "hostresolvers",
            Self::Uncaptured(_) => "uncaptured",
            Self::Closed(..) => "closed",
        }
    }

    /// The family of the table that it belongs to; `None`: every table.
    pub(in crate::dataplane) fn family(&self) -> Option<Family> {
        match self {
            Self::Service(frontend, _) | Self::Slot(frontend, ..) => Some(frontend.family()),
            Self::Hairpin(address)
            | Self::Resolver(address, _)
            | Self::HostResolver(address, _)
            | Self::Uncaptured(address) => Some(Family::of(*address)),
            Self::Bridge(_) | Self::SameBridge(_) | Self::Closed(..) => None,
        }
    }
}

impl Op {
    /// The element.
    pub(super) fn element(&self) -> &Element {
        match self {
            Self::Add(element) | Self::Delete(element) => element,
        }
    }
}

/// The sets and maps that a ruleset is kept in.
pub(super) const RULESET: [&str; 9] =
    ["services", "slots", "bridges", "samebridge", "hairpin", "resolvers", "hostresolvers", "uncaptured", "closed"];

/// Adds one change of the table of a family to a batch.
pub(in crate::dataplane) fn write(batch: &mut Batch, family: Family, op: &Op) {
    let set = op.element().set();
    match op {
        Op::Add(element) => list(batch, family, msg::NEWSETELEM, wire::CREATE | wire::EXCL, set, |w| {
            write_key(w, element);
            match element {
                Element::Service(_, size) => value(w, elem::DATA, &size.get().to_ne_bytes()),
                Element::Slot(_, _, to) => value(w, elem::DATA, &endpoint(*to)),
                Element::Resolver(_, port) | Element::HostResolver(_, port) => {
                    value(w, elem::DATA, &port.to_be_bytes());
                }
                Element::Bridge(_)
                | Element::SameBridge(_)
                | Element::Hairpin(_)
                | Element::Uncaptured(_)
                | Element::Closed(..) => {}
            }
        }),
        Op::Delete(element) => list(batch, family, msg::DELSETELEM, 0, set, |w| write_key(w, element)),
    }
}

/// Adds the element of `sizes` for a chain.
pub(super) fn write_size(batch: &mut Batch, family: Family, size: ChainSize) {
    list(batch, family, msg::NEWSETELEM, wire::CREATE | wire::EXCL, "sizes", |w| {
        value(w, elem::KEY, &size.get().to_ne_bytes());
        w.nest(elem::DATA, |w| goto(w, &size.chain()));
    });
}

/// Makes `alive` hold these leases and no others. Emptied first: kernels before 6.12 do not prolong an element that is
/// there, and deleting one that has just expired is an error.
pub(super) fn write_leases(batch: &mut Batch, family: Family, leases: &[Lease]) {
    push(batch, family, msg::DELSETELEM, 0, |w| w.text(elem::LIST_SET, "alive"));
    for (QueryPath { from, l4 }, rest) in leases {
        list(batch, family, msg::NEWSETELEM, wire::CREATE | wire::EXCL, "alive", |w| {
            value(w, elem::KEY, &[&clients(from)[..], &[l4.number(), 0, 0, 0]].concat());
            let milliseconds = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX).max(1);
            w.attr(elem::TIMEOUT, &milliseconds.to_be_bytes());
        });
    }
}

/// Whose queries, as `alive` has them: by the bridge that they come from, or by [`HOST`].
fn clients(from: &Clients) -> [u8; IFNAMSIZ] {
    match from {
        Clients::Bridge(name) => ifname(name),
        Clients::Host => HOST,
    }
}

/// Stands for the host's own queries, which come from no interface.
pub(super) const HOST: [u8; IFNAMSIZ] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn list(batch: &mut Batch, family: Family, kind: u16, flags: u16, set: &str, element: impl FnOnce(&mut Writer)) {
    push(batch, family, kind, flags, |w| {
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
        Element::Closed(from, to) => value(w, elem::KEY, &[ifname(from), ifname(to)].concat()),
        Element::Hairpin(address) => value(w, elem::KEY, &octets(*address).repeat(2)),
        Element::Resolver(address, _) | Element::HostResolver(address, _) | Element::Uncaptured(address) => {
            value(w, elem::KEY, &octets(*address));
        }
    }
}

fn frontend(Frontend { vip, l4, port }: Frontend) -> Vec<u8> {
    let [p, q] = port.get().to_be_bytes();
    let mut key = octets(vip);
    key.extend([l4.number(), 0, 0, 0, p, q, 0, 0]);
    key
}

fn endpoint(to: SocketAddr) -> Vec<u8> {
    let [p, q] = to.port().to_be_bytes();
    let mut value = octets(to.ip());
    value.extend([p, q, 0, 0]);
    value
}

fn ifname(name: &IfName) -> [u8; IFNAMSIZ] {
    let mut bytes = [0; IFNAMSIZ];
    bytes.iter_mut().zip(name.as_str().bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// The elements in a message about a set or map; `None` for one that is not as [`write()`] would have written it.
pub(in crate::dataplane) fn read(message: &Message<'_>) -> Vec<Option<Element>> {
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
            let (to, endpoint) = (read_frontend(to)?, read_endpoint(part(elem::DATA)?)?);
            (to.family() == Family::of(endpoint.ip())).then_some(Element::Slot(to, u32::from_ne_bytes(*slot), endpoint))
        }
        b"bridges" => read_ifname(key).map(Element::Bridge),
        b"samebridge" => {
            let (from, to) = key.split_first_chunk::<IFNAMSIZ>()?;
            (from == to).then(|| read_ifname(from).map(Element::SameBridge)).flatten()
        }
        b"closed" => {
            let (from, to) = key.split_first_chunk::<IFNAMSIZ>()?;
            Some(Element::Closed(read_ifname(from)?, read_ifname(to)?))
        }
        b"hairpin" => {
            let (from, to) = key.split_at_checked(key.len() / 2)?;
            (from == to).then(|| read_address(from).map(Element::Hairpin)).flatten()
        }
        b"resolvers" => Some(Element::Resolver(read_address(key)?, read_port(part(elem::DATA)?)?)),
        b"hostresolvers" => Some(Element::HostResolver(read_address(key)?, read_port(part(elem::DATA)?)?)),
        b"uncaptured" => read_address(key).map(Element::Uncaptured),
        _ => None,
    }
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn read_port(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn read_frontend(key: &[u8]) -> Option<Frontend> {
    let (vip, rest) = key.split_last_chunk::<8>()?;
    let [l4, 0, 0, 0, p, q, 0, 0] = *rest else { return None };
    let port = NonZeroU16::new(u16::from_be_bytes([p, q]))?;
    Some(Frontend { vip: read_address(vip)?, l4: L4::from_number(l4)?, port })
}

fn read_endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = bytes.split_last_chunk::<4>()?;
    let [p, q, 0, 0] = *rest else { return None };
    Some(SocketAddr::new(read_address(address)?, u16::from_be_bytes([p, q])))
}

fn read_ifname(bytes: &[u8]) -> Option<IfName> {
    let bytes = bytes.split(|byte| *byte == 0).next()?;
    IfName::new(std::str::from_utf8(bytes).ok()?)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(element) => write!(f, "add element {element}"),
            Self::Delete(element) => write!(f, "delete element {element}"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(Frontend { vip, l4, port }, size) => {
                write!(f, "services {{ {vip} . {l4} . {port} : {} }}", size.get())
            }
            Self::Slot(Frontend { vip, l4, port }, slot, endpoint) => {
                write!(f, "slots {{ {vip} . {l4} . {port} . {slot} : {endpoint} }}")
            }
            Self::Bridge(name) => write!(f, "bridges {{ {name} }}"),
            Self::SameBridge(name) => write!(f, "samebridge {{ {name} . {name} }}"),
            Self::Hairpin(address) => write!(f, "hairpin {{ {address} . {address} }}"),
            Self::Resolver(address, port) => write!(f, "resolvers {{ {address} : {port} }}"),
            Self::HostResolver(address, port) => write!(f, "hostresolvers {{ {address} : {port} }}"),
            Self::Uncaptured(address) => write!(f, "uncaptured {{ {address} }}"),
            Self::Closed(from, to) => write!(f, "closed {{ {from} . {to} }}"),
        }
    }
}

#[cfg(test)]
mod tests;
