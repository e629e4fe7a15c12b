//! Whether the agent's resolver answers, and answers a mesh name with its VIP.

use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::report::Finding;
use crate::model::{AliasName, Desired, Family, Frontend, L4, View, error_chain};
use crate::names::dns::{LEASE_NAME, SelfQuery};

/// How long one question may wait for its answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a name is asked for, and the pause in between: a new name is answered once the kernel serves its VIP.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// The name to ask for: the first whose VIP somebody serves. Never the one that stands for the resolver itself.
pub(super) fn name_to_ask(desired: &Desired) -> Option<(&AliasName, IpAddr)> {
    let served = |vip: IpAddr| {
        let first = Frontend { vip, l4: L4::Tcp, port: NonZeroU16::MIN };
        let frontends = desired.ruleset(View::Node).map(|ruleset| &ruleset.frontends);
        frontends.and_then(|all| all.range(first..).next()).is_some_and(|(frontend, _)| frontend.vip == vip)
    };
    let names = desired.names.iter().flat_map(|(name, vips)| vips.iter().map(move |vip| (name, vip)));
    names.filter(|(name, _)| name.as_str() != LEASE_NAME).find(|(_, vip)| served(*vip))
}

/// Asks the resolver about itself, then for a name.
pub(super) async fn look(resolver: &SelfQuery, desired: &watch::Receiver<Option<Arc<Desired>>>) -> Finding {
    answered(resolver.works())
        .await
        .map_err(|error| format!("the resolver does not answer: {}", error_chain(&error)))?;
    let mut tried = 1;
    loop {
        let asked = desired.borrow().as_deref().and_then(name_to_ask).map(|(name, vip)| (name.clone(), vip));
        let Some((name, vip)) = asked else { return Ok("the resolver works; no service has a name".to_owned()) };
        let problem = match answered(resolver.resolve(&name, Family::of(vip))).await {
            Ok(Some(address)) if address == vip => return Ok(format!("the resolver works; {name} is {vip}")),
            Ok(Some(address)) => format!("{name} is {address}, not {vip}"),
            Ok(None) => format!("{name} has no address, not {vip}"),
            Err(error) => format!("gives no answer for {name}: {}", error_chain(&error)),
        };
        if tried == TRIES {
            return Err(format!("the resolver works, but {problem}"));
        }
        tried += 1;
        sleep(PAUSE).await;
    }
}

async fn answered<T>(answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests;
