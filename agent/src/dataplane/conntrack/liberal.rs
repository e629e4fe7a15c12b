//! Has connection tracking take every segment of connections to VIPs, in the window that it follows or not.
//!
//! A segment that it finds out of the window belongs to no connection for it, so that no translation applies: what an
//! endpoint sent would reach its client from an address that the client never dialled, or the host itself, and whichever it
//! is would reset the connection. Between two that talk directly such a segment is dealt with by whoever receives it. The
//! sysctl `nf_conntrack_tcp_be_liberal` is the whole host's; the flag of a single connection is set here, as it begins.

use std::io;

use super::{MSG_NEW, PROTOINFO, PROTOINFO_TCP, TUPLE_ORIG, ZONE, attr};
use crate::dataplane::netlink::wire::NESTED;
use crate::dataplane::netlink::{Message, NfSocket, Writer};

/// `CTA_PROTOINFO_TCP_FLAGS_ORIGINAL`, `CTA_PROTOINFO_TCP_FLAGS_REPLY` (`enum ctattr_protoinfo_tcp`).
const FLAGS: [u16; 2] = [4, 5];
/// `struct nf_ct_tcp_flags` with `IP_CT_TCP_FLAG_BE_LIBERAL` and a mask of it alone.
const BE_LIBERAL: [u8; 2] = [8, 8];
/// Connections that are told of at a time.
const MANY: usize = 64;

/// Tells the kernel, of several connections at a time where many begin.
#[derive(Debug)]
pub(super) struct Liberal {
    socket: NfSocket,
    messages: Writer,
    waiting: usize,
}

impl Liberal {
    /// In the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: NfSocket::open()?, messages: Writer::default(), waiting: 0 })
    }

    /// Takes note of a TCP connection that has begun; `message` tells of it.
    pub(super) fn note(&mut self, message: &Message<'_>) {
        let (Some(family), Some(tuple)) = (message.family(), attr(message, TUPLE_ORIG)) else { return };
        let zone = attr(message, ZONE);
        self.messages.message(MSG_NEW, 0, 0, (family, 0), |w| {
            w.attr(TUPLE_ORIG | NESTED, tuple);
            zone.iter().for_each(|zone| w.attr(ZONE, zone));
            w.nest(PROTOINFO, |w| w.nest(PROTOINFO_TCP, |w| FLAGS.iter().for_each(|way| w.attr(*way, &BE_LIBERAL))));
        });
        self.waiting += 1;
        if self.waiting >= MANY {
            self.flush();
        }
    }

    /// Tells of those that wait. One that has ended meanwhile needs it no more, and one that could not be told of is as any
    /// connection of this host: nothing is lost by it on a good day.
    pub(super) fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        self.waiting = 0;
        if let Err(error) = self.socket.submit(std::mem::take(&mut self.messages).bytes()) {
            tracing::debug!(%error, "cannot have conntrack take every segment");
        }
    }
}

/// Whether conntrack takes every segment of all connections to this port, and there is one.
#[cfg(all(test, feature = "kernel"))]
pub(in crate::dataplane) fn is_liberal(port: u16) -> io::Result<bool> {
    use super::dump::{Which, walk};
    use crate::dataplane::netlink::find;
    use crate::model::{Family, L4};
    let (mut found, mut all) = (false, true);
    walk(&mut NfSocket::open()?, Family::V4, Which::Of(L4::Tcp), |message, flow| {
        if flow.frontend.port.get() == port {
            let tcp = attr(message, PROTOINFO).and_then(|info| find(info, PROTOINFO_TCP)).unwrap_or_default();
            let flags = |way: &u16| find(tcp, *way).and_then(<[u8]>::first).copied().unwrap_or_default();
            found = true;
            all &= FLAGS.iter().all(|way| flags(way) & BE_LIBERAL[0] != 0);
        }
    })?;
    Ok(found && all)
}
