//! Which servers queries for other names go to: the given ones, or those that the host itself uses.

use std::net::SocketAddr;

use tokio::sync::watch;

use super::resolver_config::ResolverConfig;
use crate::config::Auto;
use crate::model::NameServers;

/// The servers, as they change. What would send queries back here is left out.
pub(super) fn servers(config: &ResolverConfig, host: watch::Receiver<NameServers>) -> watch::Receiver<NameServers> {
    let Auto::Set(given) = &config.upstream else { return host };
    let own = |server: &&SocketAddr| **server == config.listen || config.vips.contains(server.ip());
    watch::channel(given.iter().filter(|server| !own(server)).copied().collect()).1
}

#[cfg(test)]
mod tests;
