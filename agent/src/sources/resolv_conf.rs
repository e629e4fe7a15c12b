//! The name servers that the host itself uses: its resolv.conf, followed as it changes.
//!
//! Publishes [`NameServers`]. A file that cannot be read or names nobody, perhaps being rewritten, changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};
use tracing::{info, warn};

use crate::model::{DNS_PORT, NameServers, VipRanges, publish};

/// How often resolv.conf is read. It has a few hundred bytes; reading it is cheaper than telling whether it changed.
const EVERY: Duration = Duration::from_secs(3);
/// How much of resolv.conf is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// How many servers of resolv.conf count (`MAXNS`, resolv.h).
const MAX_SERVERS: usize = 3;

/// The task that reads resolv.conf. Made first, so that others can subscribe; then run.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    vips: VipRanges,
    servers: watch::Sender<NameServers>,
}

impl ResolvConf {
    /// Reads nothing yet. NameServers within `vips` are the agent's own resolver, not one to ask.
    #[must_use]
    pub fn new(path: &Path, vips: VipRanges) -> Self {
        Self { path: path.to_owned(), vips, servers: watch::Sender::default() }
    }

    /// The servers; none before the file has named some.
    #[must_use]
    pub fn servers(&self) -> watch::Receiver<NameServers> {
        self.servers.subscribe()
    }

    /// Reads for ever; stopped by dropping it.
    pub async fn run(self) {
        let mut ticks = time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        loop {
            ticks.tick().await;
            let (found, problem) = match self.read().await {
                Ok(found) => (found, "it names no server".to_owned()),
                Err(error) => (NameServers::default(), error.to_string()),
            };
            let known = !self.servers.borrow().is_empty();
            if found.is_empty() {
                if !known && !warned {
                    warn!(path = %self.path.display(), %problem, "no usable name server in the host's resolv.conf; set dns.upstream");
                    warned = true;
                }
            } else if publish(&self.servers, found.clone(), PartialEq::eq) {
                info!(servers = ?found, path = %self.path.display(), "host's name servers changed");
            }
        }
    }

    async fn read(&self) -> std::io::Result<NameServers> {
        let mut bytes = Vec::new();
        File::open(&self.path).await?.take(MAX_FILE).read_to_end(&mut bytes).await?;
        let own = |server: &SocketAddr| self.vips.contains(server.ip());
        Ok(parse(&String::from_utf8_lossy(&bytes)).into_iter().filter(|server| !own(server)).collect())
    }
}

/// The `nameserver` lines of a resolv.conf (resolv.conf(5)). Addresses with a zone (`fe80::1%eth0`) are left out.
fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()?;
        Some(SocketAddr::new(address, DNS_PORT))
    };
    text.lines().filter_map(server).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests;
