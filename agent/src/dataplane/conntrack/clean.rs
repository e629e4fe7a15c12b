//! Removes flows that lead nowhere, so that their clients' next packet is translated anew: UDP flows whose endpoint is
//! gone, and any flow to a VIP from before there was a table.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::dump::{Which, walk};
use super::{ID, MSG_DELETE, TUPLE_ORIG, ZONE, attr};
use crate::dataplane::netlink::wire::NESTED;
use crate::dataplane::netlink::{NfSocket, Writer, nfproto};
use crate::model::{Family, Flow, L4, Ruleset, VipCidr, VipRanges, error_chain};

/// What is to be removed.
#[derive(Debug, Clone, Default)]
struct Job {
    /// What the kernel holds by now.
    ruleset: Arc<Ruleset>,
    /// How often the whole table was written. After that there may be TCP flows that were never translated.
    installs: u64,
}

/// A task that looks through conntrack when it is told to. A dump may take long where there are many flows, so it is
/// made beside the data plane's own thread. Ends with this handle.
#[derive(Debug)]
pub(crate) struct Cleaner(watch::Sender<Job>);

impl Cleaner {
    /// Starts the task. Must be called within a runtime whose threads are in the network namespace.
    pub(crate) fn start(ranges: VipRanges) -> io::Result<Self> {
        let (tell, told) = watch::channel(Job::default());
        tokio::spawn(run(NfSocket::open()?, ranges, told));
        Ok(Self(tell))
    }

    /// Removes what this ruleset, which the kernel holds by now, leaves without an endpoint.
    pub(crate) fn clean(&self, ruleset: Arc<Ruleset>) {
        self.0.send_modify(|job| job.ruleset = ruleset);
    }

    /// The same after a whole table was written.
    pub(crate) fn clean_all(&self, ruleset: Arc<Ruleset>) {
        self.0.send_modify(|job| *job = Job { ruleset, installs: job.installs + 1 });
    }
}

async fn run(mut socket: NfSocket, ranges: VipRanges, mut told: watch::Receiver<Job>) {
    let mut installs = 0;
    while told.changed().await.is_ok() {
        let job = told.borrow_and_update().clone();
        let which = if job.installs == installs { Which::Of(L4::Udp) } else { Which::All };
        installs = job.installs;
        let look = move || {
            let result = clean(&mut socket, ranges, &job.ruleset, which);
            (socket, result)
        };
        let result;
        (socket, result) = match tokio::task::spawn_blocking(look).await {
            Ok(back) => back,
            Err(_) => return,
        };
        match result {
            Ok(0) => debug!("no flow leads nowhere"),
            Ok(removed) => info!(removed, "removed flows to endpoints that are gone"),
            Err(error) => warn!(
                error = %error_chain(&error),
                "cannot clean conntrack; UDP clients of endpoints that are gone wait until their flows end"
            ),
        }
    }
}

/// Whether the flow leads to somebody who does not serve its frontend. One from before there was a table leads to the
/// VIP itself. TCP connections to an endpoint are left to their ends, and UDP flows to one that drains to its end.
pub(super) fn is_stale(flow: &Flow, ranges: VipRanges, ruleset: &Ruleset) -> bool {
    let Flow { frontend, endpoint, .. } = flow;
    let leads_nowhere = || match frontend.l4 {
        L4::Tcp => endpoint.ip() == frontend.vip,
        L4::Udp => {
            let serves = ruleset.frontends.get(frontend).is_some_and(|slots| slots.contains(endpoint));
            !serves && !ruleset.draining.contains(endpoint)
        }
    };
    ranges.contains(frontend.vip) && leads_nowhere()
}

/// A flow as the kernel named it. To delete it takes its tuple: a delete without one would flush everything.
struct Named {
    family: Family,
    tuple: Vec<u8>,
    id: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
}

fn clean(socket: &mut NfSocket, ranges: VipRanges, ruleset: &Ruleset, which: Which) -> io::Result<usize> {
    let mut stale: Vec<Named> = Vec::new();
    for family in ranges.iter().map(VipCidr::family) {
        walk(socket, family, which, |message, flow| {
            if let Some(tuple) = attr(message, TUPLE_ORIG).filter(|_| is_stale(flow, ranges, ruleset)) {
                let value = |kind| attr(message, kind).map(<[u8]>::to_vec);
                stale.push(Named { family, tuple: tuple.to_vec(), id: value(ID), zone: value(ZONE) });
            }
        })?;
    }
    let mut removed = 0;
    for Named { family, tuple, id, zone } in stale {
        let write = |w: &mut Writer| {
            w.attr(TUPLE_ORIG | NESTED, &tuple);
            id.iter().for_each(|id| w.attr(ID, id));
            zone.iter().for_each(|zone| w.attr(ZONE, zone));
        };
        removed += usize::from(socket.get(MSG_DELETE, nfproto(family), write, |_| ())?.is_some());
    }
    Ok(removed)
}

#[cfg(test)]
impl Cleaner {
    /// One that removes nothing.
    pub(crate) fn idle() -> Self {
        Self(watch::Sender::new(Job::default()))
    }
}
