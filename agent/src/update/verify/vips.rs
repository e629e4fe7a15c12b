//! Whether connections through VIPs get somewhere: dials them as any process of the host would.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::report::{EACH, Finding, first_of};
use crate::model::{Desired, Endpoints, Frontend, L4, View};

/// How many are dialled at once.
const AT_ONCE: usize = 8;
/// How long a connection may take.
const DIAL: Duration = Duration::from_secs(2);
/// How many services are tried before all are taken to be out of reach.
const MAX_DIALLED: usize = 64;

/// Where to dial: one VIP and port for each service that takes TCP connections, those with an endpoint on this node
/// first.
pub(super) fn dial_list(desired: &Desired, own: Option<&Endpoints>) -> Vec<SocketAddr> {
    let own = own.into_iter().flat_map(|own| own.values());
    let here: HashSet<SocketAddr> =
        own.filter(|e| e.protocol.l4() == L4::Tcp).flat_map(|e| e.addresses.local()).collect();
    let mut known = HashSet::new();
    let (mut list, mut elsewhere) = (Vec::new(), Vec::new());
    let frontends = desired.ruleset(View::Node).into_iter().flat_map(|ruleset| ruleset.frontends.iter());
    for (frontend, slots) in frontends.filter(|(frontend, _)| frontend.l4 == L4::Tcp) {
        if desired.served.get(frontend).is_some_and(|service| known.insert(service)) {
            let local = slots.iter().any(|slot| here.contains(slot));
            let list = if local { &mut list } else { &mut elsewhere };
            list.push(frontend.address());
        }
    }
    list.append(&mut elsewhere);
    list.truncate(MAX_DIALLED);
    list
}

/// Dials some at a time until one answers: that the way through the kernel works is what is asked here, and some
/// services refuse for reasons of their own.
pub(super) async fn look(desired: &Desired, own: Option<&Endpoints>) -> Finding {
    let list = dial_list(desired, own);
    if list.is_empty() {
        return Ok("no service takes TCP connections: nothing to dial".to_owned());
    }
    let last_start = Instant::now() + EACH - DIAL;
    let (mut dialled, mut failed) = (0, Vec::new());
    for some in list.chunks(AT_ONCE) {
        let results = join_all(some.iter().map(|address| dial(*address))).await;
        dialled += some.len();
        failed.extend(some.iter().zip(results).filter_map(|(address, result)| {
            let error = result.err()?;
            Some(format!("{} ({error})", name(desired, *address)))
        }));
        if failed.len() < dialled || Instant::now() >= last_start {
            break;
        }
    }
    match dialled - failed.len() {
        0 => Err(format!("none of {dialled} services answers at its VIP: {}", first_of(&failed))),
        answered if failed.is_empty() => Ok(format!("{answered} services dialled, all answer")),
        answered => Ok(format!("{answered} of {dialled} services answer; not {}", first_of(&failed))),
    }
}

async fn dial(address: SocketAddr) -> io::Result<()> {
    timeout(DIAL, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}

fn name(desired: &Desired, address: SocketAddr) -> String {
    let frontend = NonZeroU16::new(address.port()).map(|port| Frontend { vip: address.ip(), l4: L4::Tcp, port });
    match frontend.and_then(|frontend| desired.served.get(&frontend)) {
        Some(service) => format!("{service} at {address}"),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests;
