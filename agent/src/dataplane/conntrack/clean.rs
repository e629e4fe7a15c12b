//! Removes UDP flows whose endpoint is gone, so that their clients' next packet finds another.

use std::io;
use std::sync::{Arc, mpsc};

use tracing::{debug, info, warn};

use super::{
    FILTER, Flow, ID, IPV4, MSG_DELETE, MSG_GET, PROTO_NUMBER, TUPLE_ORIG, TUPLE_PROTO, ZONE, attr, read_flow,
};
use crate::dataplane::netlink::NfSocket;
use crate::mesh::Ruleset;
use crate::model::{L4, VipCidr};

/// `CTA_FILTER_ORIG_FLAGS` (`enum ctattr_filter`) and the kernel's `CTA_FILTER_F_CTA_PROTO_NUM`: the dump is of one
/// protocol. Kernels before 5.8 take no notice and dump all.
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_PROTO_NUMBER: u32 = 1 << 3;

/// A thread that looks through conntrack when it is told to. A dump may take long where there are many flows, so it is
/// not the data plane's own thread. Ends with this handle.
#[derive(Debug)]
pub(crate) struct Cleaner(mpsc::Sender<Arc<Ruleset>>);

impl Cleaner {
    /// Starts the thread in the calling thread's network namespace.
    pub(crate) fn start(range: VipCidr) -> io::Result<Self> {
        let mut socket = NfSocket::open()?;
        let (tell, told) = mpsc::channel::<Arc<Ruleset>>();
        let clean = move || {
            while let Ok(first) = told.recv() {
                let latest = told.try_iter().last().unwrap_or(first);
                match clean(&mut socket, range, &latest) {
                    Ok(0) => debug!("no UDP flow points at nobody"),
                    Ok(removed) => info!(removed, "removed UDP flows to endpoints that are gone"),
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot clean conntrack; UDP clients of endpoints that are gone wait until their flows end"
                    ),
                }
            }
        };
        std::thread::Builder::new().name("conntrack".to_owned()).spawn(clean)?;
        Ok(Self(tell))
    }

    /// Removes what this ruleset, which the kernel holds by now, leaves without an endpoint.
    pub(crate) fn clean(&self, ruleset: Arc<Ruleset>) {
        // The thread lives as long as this handle.
        let _ = self.0.send(ruleset);
    }
}

/// Whether the flow goes, or wants to go, to somebody who does not serve its frontend. Flows that were there before the
/// VIP was translated go to the VIP itself.
pub(super) fn is_stale(flow: &Flow, range: VipCidr, ruleset: &Ruleset) -> bool {
    let Flow { frontend, endpoint, .. } = flow;
    let serves = || ruleset.frontends.get(frontend).is_some_and(|slots| slots.contains(endpoint));
    frontend.l4 == L4::Udp && range.net().contains(&frontend.vip) && !serves()
}

fn clean(socket: &mut NfSocket, range: VipCidr, ruleset: &Ruleset) -> io::Result<usize> {
    // A flow as the kernel named it: its original tuple, id and zone. A delete without a tuple would flush everything.
    let mut stale: Vec<(Vec<u8>, [Option<(u16, Vec<u8>)>; 2])> = Vec::new();
    socket.walk(
        MSG_GET,
        IPV4,
        |w| {
            w.nest(FILTER, |w| w.attr(FILTER_ORIG_FLAGS, &FILTER_PROTO_NUMBER.to_ne_bytes()));
            w.nest(TUPLE_ORIG, |w| w.nest(TUPLE_PROTO, |w| w.attr(PROTO_NUMBER, &[L4::Udp.number()])));
        },
        |message| {
            let is_stale = read_flow(message).is_some_and(|flow| is_stale(&flow, range, ruleset));
            if let Some(tuple) = attr(message, TUPLE_ORIG).filter(|_| is_stale) {
                let rest = [ID, ZONE].map(|kind| attr(message, kind).map(|value| (kind, value.to_vec())));
                stale.push((tuple.to_vec(), rest));
            }
        },
    )?;
    let mut removed = 0;
    for (tuple, rest) in stale {
        let write = |w: &mut crate::dataplane::netlink::Writer| {
            w.attr(TUPLE_ORIG | crate::dataplane::netlink::wire::NESTED, &tuple);
            rest.iter().flatten().for_each(|(kind, value)| w.attr(*kind, value));
        };
        removed += usize::from(socket.get(MSG_DELETE, IPV4, write, |_| ())?.is_some());
    }
    Ok(removed)
}
