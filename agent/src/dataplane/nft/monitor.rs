//! Watches nf_tables for changes to our tables that are not ours.

use std::io;

use futures_util::FutureExt;
use nix::libc;
use socket2::SockFilter;

use super::abi::{self, generation, msg};
use super::table::TABLE;
use crate::dataplane::backend::ForeignChange;
use crate::dataplane::netlink::{Listener, Message, be32, bpf, find, messages, nfproto};
use crate::model::Family;

/// Room for notifications that were not read yet; more than these are as good as a foreign change.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The socket that listens.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: Listener,
    families: Vec<Family>,
}

impl Monitor {
    /// Listens from now on. `ours`: the port id whose changes are no news. `families`: those that we have tables of.
    ///
    /// Must be called within a runtime.
    pub(crate) fn open(ours: u32, families: Vec<Family>) -> io::Result<Self> {
        Ok(Self { listener: Listener::open(&[abi::GROUP], RECEIVE_BUFFER, &but_from(ours))?, families })
    }

    /// Forgets what was not read yet: all of it happened before now.
    pub(crate) fn forget(&mut self) {
        while self.listener.next().now_or_never().is_some() {}
    }

    /// Waits for a foreign change and reads whatever else waits with it. Safe to cancel.
    pub(crate) async fn foreign_change(&mut self) -> io::Result<ForeignChange> {
        let mut change = None;
        loop {
            // Once something was seen, only what is there already.
            let datagram = match &change {
                None => self.listener.next().await,
                Some(_) => match self.listener.next().now_or_never() {
                    Some(datagram) => datagram,
                    None => break,
                },
            };
            match datagram {
                Ok(datagram) => messages(datagram).for_each(|message| note(&mut change, &message, &self.families)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    let what = "more changes than could be followed".to_owned();
                    change = Some(ForeignChange { what, who: "unknown".to_owned() });
                }
                Err(error) => return Err(error),
            }
        }
        change.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A classic BPF program (linux/filter.h) that drops what this port id caused, which stands in `nlmsg_pid`. A datagram
/// is of one transaction. Our own rewrites would fill the socket's room, and look like changes that could not be
/// followed.
fn but_from(port: u32) -> [SockFilter; 4] {
    [
        SockFilter::new(bpf::LOAD_WORD, 0, 0, 12),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, 1, port.to_be()),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
        SockFilter::new(bpf::RETURN, 0, 0, u32::MAX),
    ]
}

/// A transaction's changes come first, then the new generation, which says who made them.
fn note(change: &mut Option<ForeignChange>, message: &Message<'_>, families: &[Family]) {
    let attributes = message.payload.get(4..).unwrap_or_default();
    match (message.kind & 0xff, &change) {
        _ if message.kind & 0xff00 != abi::SUBSYS => {}
        (msg::NEWGEN, Some(seen)) if seen.who.is_empty() => {
            let name = String::from_utf8_lossy(find(attributes, generation::PROC_NAME).unwrap_or_default());
            let pid = find(attributes, generation::PROC_PID).and_then(be32).unwrap_or_default();
            let who = format!("{} (process {pid})", name.trim_end_matches('\0'));
            *change = Some(ForeignChange { who, ..seen.clone() });
        }
        (msg::NEWGEN, _) => {}
        (kind, None) if of_any(families, message.family()) && is_ours(attributes) => {
            *change = Some(ForeignChange { what: msg::name(kind).to_owned(), who: String::new() });
        }
        _ => {}
    }
}

fn of_any(families: &[Family], family: Option<u8>) -> bool {
    family.is_some_and(|family| families.iter().any(|ours| nfproto(*ours) == family))
}

fn is_ours(attributes: &[u8]) -> bool {
    find(attributes, abi::TABLE).and_then(|name| name.strip_suffix(&[0])) == Some(TABLE.as_bytes())
}
