//! nftables over netlink: one table of our own for each address family, programmed by one socket.
//!
//! Owns the encoding and the tables. Receives plans and whole rulesets, applies each as one transaction of the kernel.
//! Never touches another table, never decides what is desired.

mod abi;
mod chain;
mod contents;
pub(super) mod element;
mod expr;
mod monitor;
mod ops;
mod probe;
mod set;
mod size;
mod skeleton;
mod table;

use std::io;

pub use self::probe::{Capability, probe};

use self::abi::{comment, msg};
use self::contents::Contents;
use self::element::Op;
use self::monitor::Monitor;
use self::skeleton::Skeleton;
use super::backend::{Backend, ForeignChange, Found, Lease};
use super::netlink::{Batch, BatchError, NfSocket, find, messages, nfproto};
use super::plan::Plan;
use crate::model::{Family, Ruleset, VipCidr, VipRanges};

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

/// The tables and the socket that programs them.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: NfSocket,
    monitor: Monitor,
    tables: Vec<Table>,
}

/// One family's table.
#[derive(Debug)]
struct Table {
    skeleton: Skeleton,
    fingerprint: String,
}

impl Nft {
    /// Opens the sockets in the calling thread's network namespace; changes nothing. Must be called within a runtime.
    ///
    /// # Errors
    /// No netlink socket could be had.
    pub(crate) fn open(ranges: VipRanges, capture: bool) -> Result<Self, NftError> {
        let tables = ranges.iter().map(|range| {
            let skeleton = Skeleton::new(range, capture);
            Table { fingerprint: skeleton.fingerprint(), skeleton }
        });
        let tables = tables.collect();
        let socket = NfSocket::open().map_err(NftError::Socket)?;
        let families = ranges.iter().map(VipCidr::family).collect();
        let monitor = Monitor::open(socket.port(), families).map_err(NftError::Socket)?;
        Ok(Self { socket, monitor, tables })
    }
}

impl Backend for Nft {
    type Error = NftError;

    const NAME: &'static str = "nftables";

    fn adopt(&mut self) -> Result<Found, NftError> {
        let (mut contents, mut present) = (Contents::default(), 0);
        for table in &self.tables {
            let family = table.skeleton.family();
            match comment_of(&mut self.socket, family)? {
                None => continue,
                Some(comment) if comment != table.fingerprint => return Ok(Found::Other("it has another skeleton")),
                Some(_) => present += 1,
            }
            if !table.has_its_rules(&mut self.socket)? {
                return Ok(Found::Other("rules are missing or strange"));
            }
            if !read_elements(&mut self.socket, family, &mut contents)? {
                return Ok(Found::Other("an element is strange"));
            }
        }
        if present == 0 {
            return Ok(Found::Nothing);
        }
        if present < self.tables.len() {
            return Ok(Found::Other("a family's table is missing"));
        }
        Ok(contents.ruleset().map_or(Found::Other("its elements contradict each other"), Found::Ours))
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), NftError> {
        let families = self.tables.iter().map(|table| table.skeleton.family());
        let ops: Vec<(Family, Op)> =
            families.flat_map(|family| ops::ops(plan, family).into_iter().map(move |op| (family, op))).collect();
        if ops.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        ops.iter().for_each(|(family, op)| element::write(&mut batch, *family, op));
        let bytes = batch.commit();
        // Messages are numbered from one, after the batch's own.
        let op = |seq: u32| ops.get(usize::try_from(seq).ok()?.checked_sub(1)?);
        self.socket
            .transact(&bytes)
            .map_err(|error| refused(error, |seq| op(seq).map_or("begin".to_owned(), |(_, op)| op.to_string())))
    }

    /// A table that is there is replaced in one transaction; otherwise packets enter last, when all elements are in
    /// place.
    fn install(&mut self, ruleset: &Ruleset, leases: &[Lease]) -> Result<(), NftError> {
        self.monitor.forget();
        let plan = Plan::new(ruleset, &Ruleset::default());
        for table in &self.tables {
            table.install(&mut self.socket, &plan, leases)?;
        }
        Ok(())
    }

    fn audit(&mut self) -> Result<bool, NftError> {
        for table in &self.tables {
            let comment = comment_of(&mut self.socket, table.skeleton.family())?;
            if comment.is_none_or(|comment| comment != table.fingerprint) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn foreign_change(&mut self) -> Result<ForeignChange, NftError> {
        self.monitor.foreign_change().await.map_err(NftError::Socket)
    }

    fn set_leases(&mut self, leases: &[Lease]) -> Result<(), NftError> {
        let mut batch = Batch::new();
        for table in &self.tables {
            element::write_leases(&mut batch, table.skeleton.family(), leases);
        }
        commit(&mut self.socket, batch)
    }

    fn remove(&mut self) -> Result<(), NftError> {
        for family in Family::ALL {
            if comment_of(&mut self.socket, family)?.is_some() {
                let mut batch = Batch::new();
                table::delete(&mut batch, family);
                commit(&mut self.socket, batch)?;
            }
        }
        Ok(())
    }
}

impl Table {
    fn install(&self, socket: &mut NfSocket, plan: &Plan, leases: &[Lease]) -> Result<(), NftError> {
        let family = self.skeleton.family();
        let replaces = comment_of(socket, family)?.is_some();
        let mut batch = Batch::new();
        if replaces {
            table::delete(&mut batch, family);
        }
        self.skeleton.write_foundation(&mut batch);
        element::write_leases(&mut batch, family, leases);
        for op in ops::ops(plan, family) {
            element::write(&mut batch, family, &op);
            if !replaces && batch.len() >= CHUNK {
                commit(socket, std::mem::replace(&mut batch, Batch::new()))?;
            }
        }
        self.skeleton.write_entrances(&mut batch);
        commit(socket, batch)
    }

    /// Whether the kernel's table has the skeleton's rules, and no others, by their comments.
    fn has_its_rules(&self, socket: &mut NfSocket) -> Result<bool, NftError> {
        let mut rules = rules_of(socket, self.skeleton.family())?;
        let mut expected = self.skeleton.rules();
        rules.sort_by(|(a, _), (b, _)| a.cmp(b));
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        let rules = rules.iter().map(|(chain, text)| (chain, text.as_str()));
        Ok(rules.eq(expected.iter().map(|(chain, text)| (chain, *text))))
    }
}

/// The comment of our table; `None` where there is no table, as on a kernel that does not know the family.
fn comment_of(socket: &mut NfSocket, family: Family) -> Result<Option<String>, NftError> {
    let mut found = String::new();
    let table = socket.get(abi::SUBSYS | msg::GETTABLE, nfproto(family), table::name, |message| {
        let userdata = message.attrs().find(|(kind, _)| *kind == abi::table::USERDATA).map(|(_, bytes)| bytes);
        found = userdata.and_then(comment::decode).unwrap_or_default().to_owned();
    });
    Ok(table.map_err(NftError::Socket)?.map(|()| found))
}

/// Each rule of our table as (its chain, its comment).
fn rules_of(socket: &mut NfSocket, family: Family) -> Result<Vec<(String, String)>, NftError> {
    let dump = socket.dump(abi::SUBSYS | msg::GETRULE, nfproto(family), table::name);
    let dump = dump.map_err(NftError::Socket)?;
    let rules = messages(&dump).filter(|message| message.kind & 0xff00 == abi::SUBSYS).map(|message| {
        let of = |kind| message.attrs().find(|(found, _)| *found == kind).map(|(_, bytes)| bytes);
        let chain = of(abi::rule::CHAIN).and_then(|name| name.strip_suffix(&[0])).unwrap_or_default();
        let comment = of(abi::rule::USERDATA).and_then(comment::decode).unwrap_or_default();
        (String::from_utf8_lossy(chain).into_owned(), comment.to_owned())
    });
    Ok(rules.collect())
}

/// Takes up the elements of our table. False where one is not as this agent writes them.
fn read_elements(socket: &mut NfSocket, family: Family, contents: &mut Contents) -> Result<bool, NftError> {
    contents.begin(family);
    for set in element::RULESET {
        let dump = socket.dump(abi::SUBSYS | msg::GETSETELEM, nfproto(family), |w| {
            table::name(w);
            w.text(abi::elem::LIST_SET, set);
        });
        let dump = dump.map_err(NftError::Socket)?;
        let ours = messages(&dump).filter(|message| message.kind & 0xff00 == abi::SUBSYS);
        for element in ours.flat_map(|message| element::read(&message)) {
            match element {
                Some(element) if element.family().is_none_or(|of| of == family) => contents.take(family, element),
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn commit(socket: &mut NfSocket, batch: Batch) -> Result<(), NftError> {
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

#[cfg(test)]
#[cfg(feature = "kernel")]
mod kernel_tests;
