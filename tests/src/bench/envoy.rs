//! Envoy as a TCP or HTTP proxy in one namespace, with Service Connect's roles: beside the client, beside the server.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::netns::Netns;

/// Worker threads: one proxy, the client and the server fit four cores.
const WORKERS: &str = "2";

/// Which network filter does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Passes bytes on, as meshdog and iptables do.
    Tcp,
    /// Understands requests, and keeps connections to the servers.
    Http,
}

/// A running Envoy. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    process: Child,
}

impl Envoy {
    /// Starts it: what is dialled at any of `listen` goes to one of `to` in turn. It may not listen yet.
    pub(crate) fn start(
        program: &Path,
        netns: &Netns,
        filter: Filter,
        listen: &[SocketAddrV4],
        to: &[SocketAddrV4],
    ) -> Result<Self> {
        let config = config(filter, listen, to).to_string();
        let process = netns.run(|| {
            let mut command = Command::new(program);
            command.args(["--disable-hot-restart", "--log-level", "error", "--concurrency", WORKERS]);
            command.arg("--config-yaml").arg(&config);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().with_context(|| format!("cannot run {}", program.display()))
        })?;
        Ok(Self { process })
    }

    /// Its resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        super::resident_mib(self.process.id())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(filter: Filter, listen: &[SocketAddrV4], to: &[SocketAddrV4]) -> Value {
    let listeners: Vec<_> = listen
        .iter()
        .map(|at| json!({"address": address(*at), "filter_chains": [{"filters": [network_filter(filter)]}]}))
        .collect();
    let endpoints: Vec<_> = to.iter().map(|at| json!({"endpoint": {"address": address(*at)}})).collect();
    let cluster = json!({
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": endpoints}]},
    });
    json!({"static_resources": {"listeners": listeners, "clusters": [cluster]}})
}

fn address(at: SocketAddrV4) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn network_filter(filter: Filter) -> Value {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    match filter {
        Filter::Tcp => json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": format!("{TYPES}.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "bench",
                "cluster": "app",
            },
        }),
        Filter::Http => json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "bench",
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": format!("{TYPES}.http.router.v3.Router")},
                }],
            },
        }),
    }
}

/// Where the client's own proxy listens: as many ports as there are endpoints, so that every leg dials as many targets.
pub(crate) const EGRESS: [SocketAddrV4; 4] = [egress(1), egress(2), egress(3), egress(4)];
/// Where the application listens behind its own proxy.
pub(crate) const BEHIND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080);

const fn egress(nth: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000 + nth)
}
