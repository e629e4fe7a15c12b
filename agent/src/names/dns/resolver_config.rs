//! What the resolver is told at start.

use std::net::SocketAddr;

use crate::config::Auto;
use crate::model::VipRanges;

/// What the resolver is told at start.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// Where to listen, UDP and TCP: [`VipCidr::resolver`](crate::model::VipCidr::resolver). The address need not exist yet.
    pub listen: SocketAddr,
    /// Where queries for other names go; `Auto`: to the servers that the host itself uses.
    pub upstream: Auto<Vec<SocketAddr>>,
    /// The VIP ranges, which are never forwarded to.
    pub vips: VipRanges,
    /// The packet mark (`SO_MARK`) on sockets to upstream servers, by which the capture rule lets them pass.
    /// Needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
}
