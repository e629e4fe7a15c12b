//! nftables over netlink: one table of our own, programmed by one socket.
//!
//! Owns the encoding and the table. Receives plans and whole rulesets, applies each as one transaction of the kernel.
//! Never touches another table, never decides what is desired.

mod abi;
mod chain;
mod element;
mod expr;
pub(crate) mod monitor;
pub(crate) mod probe;
mod set;
mod skeleton;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use imbl::OrdMap;

use self::abi::{comment, msg};
use self::skeleton::Skeleton;
use super::netlink::{Batch, BatchError, NfSocket, find, messages};
use super::plan::{Element, Op, Plan, plan};
use super::size::{ChainSize, chain_for};
use crate::model::{Frontend, Ruleset, Slots, VipCidr};

/// Elements in one transaction while a table is filled that no packet reaches yet. A transaction holds nf_tables' lock.
const CHUNK: usize = 1000;

/// Why the kernel's tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// No netlink socket, or it failed.
    #[error("cannot talk to nf_tables over netlink; the agent needs CAP_NET_ADMIN in the host's network namespace")]
    Socket(#[source] io::Error),
    /// The kernel refused a change; nothing of its transaction was applied.
    #[error("the kernel refused to {what} ({others} other refusals) and dropped the whole transaction{text}")]
    Refused {
        /// The first message that it refused.
        what: String,
        /// How many more it refused.
        others: usize,
        /// What else it had to say.
        text: String,
        /// Its error number.
        #[source]
        errno: nix::errno::Errno,
    },
    /// The kernel did not answer a transaction.
    #[error("the kernel did not answer a transaction; whether it was applied is unknown")]
    Unanswered,
}

/// What was found in the kernel at start.
#[derive(Debug)]
pub(crate) enum Found {
    /// No table.
    Nothing,
    /// A table that this agent would not have made, and why.
    Other(&'static str),
    /// Our table, whole.
    Ours(Ruleset),
}

/// The table and the socket that programs it.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: NfSocket,
    skeleton: Skeleton,
    fingerprint: String,
}

impl Nft {
    /// Opens the socket in the calling thread's network namespace; changes nothing.
    pub(crate) fn open(range: VipCidr, capture: bool) -> Result<Self, NftError> {
        let skeleton = Skeleton::new(range, capture);
        let fingerprint = skeleton.fingerprint();
        Ok(Self { socket: NfSocket::open().map_err(NftError::Socket)?, skeleton, fingerprint })
    }

    /// By which id others see our changes.
    pub(crate) fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Reads the table that a former agent left.
    pub(crate) fn adopt(&mut self) -> Result<Found, NftError> {
        match self.table_comment()? {
            None => return Ok(Found::Nothing),
            Some(comment) if comment != self.fingerprint => return Ok(Found::Other("it has another skeleton")),
            Some(_) => {}
        }
        let mut rules = self.rules()?;
        let mut expected = self.skeleton.rules();
        rules.sort_by(|(a, _), (b, _)| a.cmp(b));
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        if !rules
            .iter()
            .map(|(chain, text)| (chain, text.as_str()))
            .eq(expected.iter().map(|(chain, text)| (chain, *text)))
        {
            return Ok(Found::Other("rules are missing or strange"));
        }
        let mut contents = Contents::default();
        for set in element::RULESET {
            let dump = self.socket.dump(abi::SUBSYS | msg::GETSETELEM, abi::IPV4, |w| {
                table::name(w);
                w.text(abi::elem::LIST_SET, set);
            });
            let dump = dump.map_err(NftError::Socket)?;
            for element in
                messages(&dump).filter(|message| message.kind & 0xff00 == abi::SUBSYS).flat_map(|m| element::read(&m))
            {
                let Some(element) = element else { return Ok(Found::Other("an element is strange")) };
                contents.take(element);
            }
        }
        Ok(contents.ruleset().map_or(Found::Other("its elements contradict each other"), Found::Ours))
    }

    /// Whether our table, by its comment, is there.
    pub(crate) fn present(&mut self) -> Result<bool, NftError> {
        Ok(self.table_comment()?.is_some_and(|comment| comment == self.fingerprint))
    }

    /// Makes the changes, all at once.
    pub(crate) fn apply(&mut self, plan: &Plan) -> Result<(), NftError> {
        let mut batch = Batch::new();
        plan.ops.iter().for_each(|op| element::write(&mut batch, op));
        let bytes = batch.commit();
        // Messages are numbered from one, after the batch's own.
        let op = |seq: u32| plan.ops.get(usize::try_from(seq).ok()?.checked_sub(1)?);
        self.socket
            .transact(&bytes)
            .map_err(|error| refused(error, |seq| op(seq).map_or("begin".to_owned(), Op::to_string)))
    }

    /// Writes the whole table. One that is there is replaced in one transaction; otherwise packets enter last, when all
    /// elements are in place.
    pub(crate) fn install(&mut self, ruleset: &Ruleset, lease: Option<Duration>) -> Result<(), NftError> {
        let replaces = self.table_comment()?.is_some();
        let mut batch = Batch::new();
        if replaces {
            table::delete(&mut batch);
        }
        self.skeleton.write_foundation(&mut batch);
        element::write_lease(&mut batch, lease);
        for op in plan(ruleset, &Ruleset::default()).ops {
            element::write(&mut batch, &op);
            if !replaces && batch.len() >= CHUNK {
                self.commit(std::mem::replace(&mut batch, Batch::new()))?;
            }
        }
        self.skeleton.write_entrances(&mut batch);
        self.commit(batch)
    }

    /// Lets queries be captured for so long from now, or no longer.
    pub(crate) fn set_lease(&mut self, lease: Option<Duration>) -> Result<(), NftError> {
        let mut batch = Batch::new();
        element::write_lease(&mut batch, lease);
        self.commit(batch)
    }

    fn table_comment(&mut self) -> Result<Option<String>, NftError> {
        let mut found = String::new();
        let table = self.socket.get(abi::SUBSYS | msg::GETTABLE, abi::IPV4, table::name, |message| {
            let userdata = message.attrs().find(|(kind, _)| *kind == abi::table::USERDATA).map(|(_, bytes)| bytes);
            found = userdata.and_then(comment::decode).unwrap_or_default().to_owned();
        });
        Ok(table.map_err(NftError::Socket)?.map(|()| found))
    }

    /// Each rule of the table as (its chain, its comment).
    fn rules(&mut self) -> Result<Vec<(String, String)>, NftError> {
        let dump = self.socket.dump(abi::SUBSYS | msg::GETRULE, abi::IPV4, table::name);
        let dump = dump.map_err(NftError::Socket)?;
        let rules = messages(&dump).filter(|message| message.kind & 0xff00 == abi::SUBSYS).map(|message| {
            let of = |kind| message.attrs().find(|(found, _)| *found == kind).map(|(_, bytes)| bytes);
            let chain = of(abi::rule::CHAIN).and_then(|name| name.strip_suffix(&[0])).unwrap_or_default();
            let comment = of(abi::rule::USERDATA).and_then(comment::decode).unwrap_or_default();
            (String::from_utf8_lossy(chain).into_owned(), comment.to_owned())
        });
        Ok(rules.collect())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), NftError> {
        let bytes = batch.commit();
        self.socket.transact(&bytes).map_err(|error| refused(error, |seq| describe(&bytes, seq)))
    }
}

/// Deletes our table, if it is there.
pub(crate) fn delete_table() -> Result<(), NftError> {
    let mut batch = Batch::new();
    table::delete(&mut batch);
    let mut socket = NfSocket::open().map_err(NftError::Socket)?;
    let bytes = batch.commit();
    socket.transact(&bytes).map_err(|error| refused(error, |seq| describe(&bytes, seq)))
}

/// The error in words; `what` names the message with a sequence number.
fn refused(error: BatchError, what: impl FnOnce(u32) -> String) -> NftError {
    match error {
        BatchError::Io(source) => NftError::Socket(source),
        BatchError::Unanswered => NftError::Unanswered,
        BatchError::Refused(first, rest) => NftError::Refused {
            what: what(first.seq),
            others: rest.len(),
            text: first.text.map(|text| format!(": {text}")).unwrap_or_default(),
            errno: first.errno,
        },
    }
}

/// A message of a batch in words: what it does to which object.
fn describe(batch: &[u8], seq: u32) -> String {
    let Some(message) = messages(batch).find(|message| message.seq == seq && message.kind & 0xff00 == abi::SUBSYS)
    else {
        return "begin".to_owned();
    };
    let what = msg::name(message.kind);
    match element::read(&message).into_iter().flatten().next() {
        Some(element) => format!("{what} {element}"),
        None => {
            let names = message.attrs().filter(|(kind, _)| *kind == abi::set::NAME || *kind == abi::chain::NAME);
            let names: Vec<_> = names.map(|(_, name)| String::from_utf8_lossy(name)).collect();
            let comment = find(message.payload.get(4..).unwrap_or_default(), abi::rule::USERDATA);
            let comment = comment.and_then(comment::decode).unwrap_or_default();
            format!("{what} {} {comment}", names.join(" ")).replace('\0', "").trim_end().to_owned()
        }
    }
}

/// Elements as they come out of the kernel, in any order.
#[derive(Debug, Default)]
struct Contents {
    services: OrdMap<Frontend, ChainSize>,
    slots: BTreeMap<(Frontend, u32), SocketAddrV4>,
    ruleset: Ruleset,
    same_bridge: imbl::OrdSet<crate::model::IfName>,
}

impl Contents {
    fn take(&mut self, element: Element) {
        match element {
            Element::Service(frontend, size) => drop(self.services.insert(frontend, size)),
            Element::Slot(frontend, slot, to) => drop(self.slots.insert((frontend, slot), to)),
            Element::Bridge(name) => drop(self.ruleset.bridges.insert(name)),
            Element::SameBridge(name) => drop(self.same_bridge.insert(name)),
            Element::Hairpin(address) => drop(self.ruleset.locals.insert(address)),
            Element::Resolver(address) => drop(self.ruleset.resolvers.insert(address)),
        }
    }

    /// The ruleset that has just these elements, if there is one.
    fn ruleset(mut self) -> Option<Ruleset> {
        let mut frontends: BTreeMap<Frontend, Vec<SocketAddrV4>> = BTreeMap::new();
        for ((frontend, slot), to) in self.slots {
            let slots = frontends.entry(frontend).or_default();
            if usize::try_from(slot).ok()? != slots.len() {
                return None;
            }
            slots.push(to);
        }
        let sizes = frontends.iter().map(|(frontend, slots)| (*frontend, chain_for(slots.len())));
        if self.same_bridge != self.ruleset.bridges || sizes.collect::<OrdMap<_, _>>() != self.services {
            return None;
        }
        let frontends = frontends.into_iter().map(|(frontend, slots)| (frontend, Slots::from(slots)));
        self.ruleset.frontends = frontends.collect();
        Some(self.ruleset)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no table"),
            Self::Other(why) => write!(f, "a table of another's: {why}"),
            Self::Ours(ruleset) => write!(f, "our table with {} frontends", ruleset.frontends.len()),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "kernel")]
mod kernel_tests;
