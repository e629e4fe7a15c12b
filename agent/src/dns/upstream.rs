//! Which servers queries for other names go to: the given ones, or the host's resolv.conf, followed as it changes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};
use tracing::{info, warn};

use super::Config;
use crate::config::Auto;
use crate::model::{DNS_PORT, VipCidr};

/// Servers in the order they are tried.
pub type Servers = Arc<[SocketAddr]>;

/// How often resolv.conf is read. It has a few hundred bytes; reading it is cheaper than telling whether it changed.
const EVERY: Duration = Duration::from_secs(3);
/// How much of resolv.conf is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// How many servers of resolv.conf count (`MAXNS`, resolv.h).
const MAX_SERVERS: usize = 3;

/// Where the servers come from.
#[derive(Debug)]
pub(super) struct Upstream {
    source: Auto<Vec<SocketAddr>>,
    path: PathBuf,
    listen: SocketAddr,
    vips: VipCidr,
}

impl Upstream {
    pub(super) fn new(config: &Config) -> Self {
        let Config { listen, upstream, resolv_conf, vips, .. } = config.clone();
        Self { source: upstream, path: resolv_conf, listen: listen.into(), vips }
    }

    /// The servers as they are now; none where the file says none or cannot be read.
    pub(super) async fn servers(&self) -> Servers {
        let servers = match &self.source {
            Auto::Set(servers) => servers.clone(),
            Auto::Auto => read(&self.path).await.map(|text| parse(&text)).unwrap_or_else(|error| {
                warn!(path = %self.path.display(), %error, "cannot read the host's name servers");
                Vec::new()
            }),
        };
        let servers = self.usable(servers);
        if servers.is_empty() {
            warn!("no name server to forward DNS queries to; set dns.upstream");
        }
        servers
    }

    /// Publishes the host's own servers, and with them those to ask unless these are given, whenever they change. An
    /// unreadable or empty file, perhaps being rewritten, changes nothing.
    pub(super) async fn follow(&self, servers: watch::Sender<Servers>, host: watch::Sender<Servers>) {
        let mut ticks = time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(text) = read(&self.path).await else { continue };
            let found = self.usable(parse(&text));
            if found.is_empty() || *host.borrow() == found {
                continue;
            }
            info!(servers = ?found, path = %self.path.display(), "the host's name servers");
            if self.source == Auto::Auto {
                servers.send_replace(Arc::clone(&found));
            }
            host.send_replace(found);
        }
    }

    /// Leaves out what would send queries back here.
    fn usable(&self, servers: Vec<SocketAddr>) -> Servers {
        let own = |server: &SocketAddr| {
            *server == self.listen || matches!(server.ip(), IpAddr::V4(ip) if self.vips.net().contains(&ip))
        };
        servers.into_iter().filter(|server| !own(server)).collect()
    }
}

async fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path).await?.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
