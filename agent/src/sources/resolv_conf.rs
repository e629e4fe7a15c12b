//! Whose queries are captured: the name servers that Docker gives containers by default, and those of the host itself;
//! read from the host's resolv.conf, followed as it changes.
//!
//! Publishes [`CapturedServers`]. A file that cannot be read, perhaps being rewritten, changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};
use tracing::{info, warn};

use crate::model::{CapturedServers, DNS_PORT, VipRanges, places, publish};

/// How often resolv.conf is read. It has a few hundred bytes; reading it is cheaper than telling whether it changed.
const EVERY: Duration = Duration::from_secs(3);
/// How much of a file is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// systemd-resolved's stub. Where a resolv.conf names it and nobody else, Docker reads the other file that
/// systemd-resolved writes, which names its servers (moby, `libnetwork/internal/resolvconf`, `Path`).
const STUB: [u8; 4] = [127, 0, 0, 53];
/// What Docker gives containers where the host has none that they could reach (moby, `libnetwork/internal/resolvconf`,
/// `defaultIPv4NSs`).
const FALLBACK: [[u8; 4]; 2] = [[8, 8, 8, 8], [8, 8, 4, 4]];

/// The task that reads resolv.conf. Made first, so that others can subscribe; then run.
#[derive(Debug)]
pub struct ResolvConf {
    path: PathBuf,
    behind_stub: Vec<PathBuf>,
    vips: VipRanges,
    host: bool,
    servers: watch::Sender<CapturedServers>,
}

impl ResolvConf {
    /// Reads nothing yet. `behind_stub`: where systemd-resolved's own servers may stand; the first file that can be
    /// read counts. Name servers within `vips` are left out. `host`: whether the host's own servers are captured, too.
    #[must_use]
    pub fn new(path: &Path, behind_stub: &[&str], vips: VipRanges, host: bool) -> Self {
        let behind_stub = behind_stub.iter().map(PathBuf::from).collect();
        Self { path: path.to_owned(), behind_stub, vips, host, servers: watch::Sender::default() }
    }

    /// The servers; none before the file was read.
    #[must_use]
    pub fn servers(&self) -> watch::Receiver<CapturedServers> {
        self.servers.subscribe()
    }

    /// Reads for ever; stopped by dropping it.
    pub async fn run(self) {
        let mut ticks = time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        loop {
            ticks.tick().await;
            let before = self.servers.borrow().clone();
            match self.read().await {
                Ok((host, containers)) => {
                    let host = if self.host { host } else { Vec::new() };
                    let captured = CapturedServers {
                        containers: places(&before.containers, &self.usable(&containers)),
                        host: places(&before.host, &self.usable(&host)),
                    };
                    if publish(&self.servers, captured.clone(), PartialEq::eq) {
                        info!(containers = ?captured.containers, host = ?captured.host, path = %self.path.display(),
                            "name servers whose queries are captured");
                    }
                }
                Err(error) if !warned && before == CapturedServers::default() => {
                    warn!(path = %self.path.display(), %error,
                        "cannot read the host's resolv.conf; containers' DNS queries are not answered");
                    warned = true;
                }
                Err(_) => {}
            }
        }
    }

    /// The servers of the host, and those that Docker gives containers.
    async fn read(&self) -> io::Result<(Vec<IpAddr>, Vec<IpAddr>)> {
        let host = parse(&read(&self.path).await?);
        let mut for_docker = host.clone();
        if host == [IpAddr::from(STUB)] {
            for path in &self.behind_stub {
                if let Ok(text) = read(path).await {
                    for_docker = parse(&text);
                    break;
                }
            }
        }
        Ok((host, defaults(&for_docker)))
    }

    /// Those whose queries can be captured: the resolver listens on IPv4 alone, and never is its own server.
    fn usable(&self, servers: &[IpAddr]) -> Vec<SocketAddr> {
        let usable = servers.iter().filter(|server| server.is_ipv4() && !self.vips.contains(**server));
        usable.map(|server| SocketAddr::new(*server, DNS_PORT)).collect()
    }
}

async fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path).await?.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What Docker makes of the servers of a resolv.conf for containers, which cannot reach the host's loopback (moby,
/// `libnetwork/internal/resolvconf`, `TransformForLegacyNw`).
fn defaults(listed: &[IpAddr]) -> Vec<IpAddr> {
    let reachable: Vec<IpAddr> = listed.iter().copied().filter(|server| !server.is_loopback()).collect();
    if reachable.is_empty() { FALLBACK.map(IpAddr::from).to_vec() } else { reachable }
}

/// The `nameserver` lines of a resolv.conf (resolv.conf(5)). Addresses with a zone (`fe80::1%eth0`) are left out.
fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests;
