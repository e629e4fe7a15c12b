//! Follows packets of a vantage through everybody's nftables chains (iptables' too, where it is iptables-nft), to say what
//! drops them. Costs nothing while nobody listens.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::debug;

use super::netlink::{Listener, Message, be32, find, messages, wire::NFTABLES};
use crate::model::address::octets;

/// `NFNLGRP_NFTRACE` (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 9;
/// `NFT_MSG_TRACE` of nf_tables.
const TRACE: u16 = NFTABLES << 8 | 17;
/// `enum nft_trace_attributes`.
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const RULE_HANDLE: u16 = 3;
    pub(super) const VERDICT: u16 = 5;
    pub(super) const ID: u16 = 6;
    pub(super) const NETWORK_HEADER: u16 = 8;
    pub(super) const POLICY: u16 = 16;
}
/// `NFTA_VERDICT_CODE`, and `NF_DROP` (linux/netfilter.h).
const CODE: u16 = 1;
const DROP: u32 = 0;
/// Of messages that were not read yet.
const ROOM: usize = 1 << 20;
/// How long packets are followed.
const LONGEST: Duration = Duration::from_secs(1);

/// What dropped a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// `NFPROTO_*`.
    family: u8,
    table: String,
    chain: String,
    /// The rule's handle; none: the chain's policy.
    rule: Option<u64>,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            1 => "inet",
            7 => "bridge",
            10 => "ip6",
            _ => "ip",
        };
        let Self { table, chain, .. } = self;
        match self.rule {
            Some(handle) => write!(f, "dropped by rule {handle} of chain {chain} in table {family} {table}")?,
            None => write!(f, "dropped by the policy of chain {chain} in table {family} {table}")?,
        }
        write!(f, " (nft -a list chain {family} {table} {chain})")
    }
}

/// Does something that sends packets from this address, and tells what dropped one of them, if anything that nf_tables
/// knows did. In the calling thread's network namespace.
pub async fn dropped<T>(from: IpAddr, attempt: impl Future<Output = io::Result<T>>) -> Option<Dropped> {
    let mut listener = Listener::open(&[GROUP], ROOM, &[])
        .inspect_err(|error| debug!(%error, "cannot follow packets through nf_tables"))
        .ok()?;
    // Whether it succeeds is no matter here.
    let _ = timeout(LONGEST, attempt).await;
    let mut ours = BTreeSet::new();
    let mut dropped = None;
    while let Some(Ok(datagram)) = listener.next().now_or_never() {
        for message in messages(datagram).filter(|message| message.kind == TRACE) {
            dropped = dropped.or_else(|| read(&message, from, &mut ours));
        }
    }
    dropped
}

/// What dropped a packet from this address, if the message says so. `ours`: the packets that come from there.
fn read(message: &Message<'_>, from: IpAddr, ours: &mut BTreeSet<u32>) -> Option<Dropped> {
    let of = |kind| message.attrs().find(|(found, _)| *found == kind).map(|(_, bytes)| bytes);
    let id = of(attribute::ID).and_then(be32)?;
    // struct iphdr (linux/ip.h): the source's address.
    let source = of(attribute::NETWORK_HEADER).and_then(|header| header.get(12..16));
    if source.is_some_and(|source| source == octets(from)) {
        ours.insert(id);
    }
    let verdict = of(attribute::VERDICT).and_then(|verdict| find(verdict, CODE)).and_then(be32);
    let policy = of(attribute::POLICY).and_then(be32);
    if !ours.contains(&id) || (verdict != Some(DROP) && policy != Some(DROP)) {
        return None;
    }
    let text = |kind| of(kind).map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    let handle = of(attribute::RULE_HANDLE).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
    Some(Dropped {
        family: message.family().unwrap_or_default(),
        table: text(attribute::TABLE)?,
        chain: text(attribute::CHAIN)?,
        rule: handle.filter(|_| verdict == Some(DROP)),
    })
}
