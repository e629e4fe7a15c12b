//! Connects of our own to endpoints that clients failed to reach: what clients say is suspicion, this is proof.
//!
//! Bounded in number, and in how often one endpoint is asked, whatever is said of it. Asks from the host's network
//! namespace by plain sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::outlier::ConnectFailure;
use crate::model::{Flow, Target};

/// How long an endpoint may take over accepting.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between the two connects that must both fail.
const PAUSE: Duration = Duration::from_millis(100);
/// How often one endpoint is asked at most; longer than it takes to ask.
const EVERY: Duration = Duration::from_secs(3);
/// Endpoints that are asked at a time.
const AT_ONCE: usize = 64;
/// Endpoints of which it is remembered when they were asked.
const MAX_ASKED: usize = 65_536;

/// What came of asking.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) target: Target,
    /// The failed flow that was the reason to ask; none where it was asked whether the trouble is over.
    pub(super) flow: Option<Flow>,
    /// How it failed, twice in a row.
    pub(super) answer: Result<(), ConnectFailure>,
    asked: Instant,
}

/// Asks.
#[derive(Debug, Default)]
pub(super) struct Confirm {
    /// When endpoints were asked.
    asked: BTreeMap<Target, Instant>,
    running: JoinSet<Confirmed>,
}

impl Confirm {
    /// Asks an endpoint, unless it was asked just now or too many are being asked.
    pub(super) fn ask(&mut self, target: Target, flow: Option<Flow>, now: Instant) {
        let is_early = self.asked.get(&target).is_some_and(|asked| now < *asked + EVERY);
        if is_early || self.running.len() >= AT_ONCE || self.asked.len() >= MAX_ASKED {
            return;
        }
        self.asked.insert(target, now);
        self.running.spawn(async move {
            let answer = ask(target.address()).await;
            Confirmed { target, flow, answer, asked: now }
        });
    }

    /// What came of the next one; waits for ever while nobody is asked. May be dropped and called anew.
    pub(super) async fn next(&mut self) -> Confirmed {
        while let Some(confirmed) = self.running.join_next().await {
            // Whoever has had the address since has nothing to do with it.
            if let Ok(confirmed) = confirmed
                && self.asked.get(&confirmed.target) == Some(&confirmed.asked)
            {
                return confirmed;
            }
        }
        std::future::pending().await
    }

    /// Forgets an address: somebody else may have it next.
    pub(super) fn forget(&mut self, target: &Target) {
        self.asked.remove(target);
    }

    /// Forgets what was asked too long ago to matter.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.asked.retain(|_, asked| now < *asked + EVERY);
    }
}

/// Asks twice at most: one connect that fails may have been unlucky.
async fn ask(address: SocketAddr) -> Result<(), ConnectFailure> {
    if connect(address).await.is_ok() {
        return Ok(());
    }
    sleep(PAUSE).await;
    connect(address).await
}

async fn connect(address: SocketAddr) -> Result<(), ConnectFailure> {
    match timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ConnectFailure::Refused),
        // Nothing that the endpoint did: it says something of this process alone.
        Ok(Err(error)) if is_ours(&error) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(ConnectFailure::Unanswered),
    }
}

/// Whether a connect failed for want of something here.
fn is_ours(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRNOTAVAIL, Errno::EPERM];
    error.raw_os_error().is_some_and(|code| ours.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests;
