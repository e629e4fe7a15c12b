//! Fail open: the kernel captures clients' queries only while a lease lasts, one for each way that queries come. It is
//! renewed only after a query of our own has been answered that went the very same way.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior, timeout};
use tracing::{info, warn};

use super::resolver_state::{PathStates, ResolverState};
use crate::model::publish::change;
use crate::model::{QueryPath, error_chain};

/// How often leases are renewed. Three attempts fit the 5 s that they last.
const EVERY: Duration = Duration::from_millis(1300);
/// How long an answer or a renewal may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked again what is in the way of a path.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The leases on the capture, as the dataplane keeps them.
pub trait Lease: Send {
    /// Why a renewal failed.
    type Error: std::error::Error + Send + 'static;

    /// Lets the kernel capture what comes by these paths for another 5 seconds. Given up after a second.
    ///
    /// # Errors
    /// When the kernel's set could not be changed; tried again at the next turn.
    fn renew(&mut self, paths: Arc<[QueryPath]>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Asks the resolver by the paths that clients' queries take.
pub(super) trait Probe {
    /// The paths that there are; none while that is not known.
    fn paths(&mut self) -> Option<Vec<QueryPath>>;

    /// Returns when there may be others. Safe to cancel.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// Asks once; an error when the answer is missing or wrong.
    fn ask(&self, path: &QueryPath) -> impl Future<Output = io::Result<()>> + Send;

    /// Asks once more, and looks what is in the way.
    fn obstacle(&self, path: &QueryPath) -> impl Future<Output = Option<String>> + Send;
}

/// Renews leases at once and then from time to time, for as long as the probe is answered. Never returns.
pub(super) async fn keep<P: Probe, L: Lease>(mut probe: P, mut lease: L, state: &watch::Sender<ResolverState>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut blocked: BTreeMap<QueryPath, Blocked> = BTreeMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = probe.changed() => {}
        }
        let Some(paths) = probe.paths() else {
            blocked.clear();
            note(state, None);
            continue;
        };
        let known = state.borrow().paths().cloned().unwrap_or_default();
        let outcomes = turn(&probe, &mut lease, paths).await;
        let failed = outcomes.iter().filter_map(|(path, outcome)| Some((path, outcome.as_ref().err()?)));
        let looked = failed.map(|(path, error)| async {
            let now = match blocked.get(path).filter(|before| before.looked.elapsed() < LOOK_AGAIN) {
                Some(before) => before.clone(),
                None => {
                    let why = probe.obstacle(path).await.unwrap_or_else(|| error_chain(error).to_string());
                    Blocked { why: why.into(), looked: Instant::now() }
                }
            };
            (path.clone(), now)
        });
        blocked = join_all(looked).await.into_iter().collect();
        let why = |path: &QueryPath| blocked.get(path).map(|blocked| Arc::clone(&blocked.why));
        let next: PathStates = outcomes.iter().map(|(path, _)| (path.clone(), why(path))).collect();
        tell(&known, &next);
        note(state, Some(next));
    }
}

/// A path by which no answer comes.
#[derive(Debug, Clone)]
struct Blocked {
    why: Arc<str>,
    looked: Instant,
}

/// Asks by all paths at a time, and renews the leases of those that are open.
async fn turn<P: Probe, L: Lease>(probe: &P, lease: &mut L, paths: Vec<QueryPath>) -> Vec<(QueryPath, io::Result<()>)> {
    let asked = paths.into_iter().map(|path| async {
        let answered = timeout(PATIENCE, probe.ask(&path)).await;
        (path, answered.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))))
    });
    let mut outcomes = join_all(asked).await;
    let open: Arc<[QueryPath]> = outcomes.iter().filter(|(_, is)| is.is_ok()).map(|(path, _)| path.clone()).collect();
    if !open.is_empty() {
        let renewed = match timeout(PATIENCE, lease.renew(open)).await {
            Ok(renewed) => renewed.map_err(|error| error_chain(&error).to_string()),
            Err(_) => Err(format!("the dataplane did not renew the lease within {PATIENCE:?}")),
        };
        if let Err(error) = renewed {
            outcomes.iter_mut().for_each(|(_, outcome)| *outcome = Err(io::Error::other(error.clone())));
        }
    }
    outcomes
}

/// Says what is new.
fn tell(before: &PathStates, now: &PathStates) {
    for (path, state) in now.iter().filter(|(path, state)| before.get(*path) != Some(*state)) {
        match state {
            None => info!(%path, "DNS queries are captured and answered here"),
            Some(why) => {
                warn!(%path, %why, "DNS queries go to the name servers that they were sent to: the agent's own \
                query was not answered by the way that they take")
            }
        }
    }
}

fn note(state: &watch::Sender<ResolverState>, now: Option<PathStates>) {
    change(state, |state| {
        if let ResolverState::Listening { paths, .. } = state {
            *paths = now;
        }
    });
}

#[cfg(test)]
mod tests;
