//! The ways that clients' queries take to the resolver, each tried from where such clients are.

use std::io;
use std::net::SocketAddr;

use tokio::sync::watch;

use super::lease::Probe;
use super::self_query::SelfQuery;
use super::transport::Transport;
use crate::dataplane::trace;
use crate::dataplane::vantages::Vantages;
use crate::model::{CapturedServers, Clients, DNS_PORT, L4, QueryPath};

/// From each bridge by the agent's vantage there, from the host by the agent itself.
#[derive(Debug)]
pub(super) struct ClientPaths {
    pub(super) vantages: watch::Receiver<Option<Vantages>>,
    pub(super) servers: watch::Receiver<CapturedServers>,
    /// How the host's own processes reach the resolver; none where they are left alone.
    pub(super) host: Option<SelfQuery>,
}

impl ClientPaths {
    /// How to ask as clients there do.
    fn query(&self, from: &Clients) -> io::Result<SelfQuery> {
        let Clients::Bridge(bridge) = from else { return Err(io::Error::other("the host is left alone")) };
        let vantages = self.vantages.borrow();
        let point = vantages.as_ref().and_then(|all| all.get(bridge)).ok_or(io::ErrorKind::NotFound)?;
        let point = point.as_ref().map_err(|why| io::Error::other(why.to_string()))?;
        let server = self.server().ok_or(io::ErrorKind::NotFound)?;
        Ok(SelfQuery::from(point.netns.clone(), server))
    }

    /// A name server whose queries are captured. All are, or none: the first stands for them.
    fn server(&self) -> Option<SocketAddr> {
        let servers = self.servers.borrow();
        let server = servers.containers.iter().find(|server| server.is_ipv4() && server.port() == DNS_PORT);
        server.copied()
    }
}

impl Probe for ClientPaths {
    fn paths(&mut self) -> Option<Vec<QueryPath>> {
        let vantages = self.vantages.borrow_and_update().clone()?;
        self.servers.borrow_and_update();
        let bridges = vantages.keys().filter(|_| self.server().is_some()).cloned().map(Clients::Bridge);
        let all = bridges.chain(self.host.as_ref().map(|_| Clients::Host));
        Some(all.flat_map(|from| [L4::Udp, L4::Tcp].map(|l4| QueryPath { from: from.clone(), l4 })).collect())
    }

    async fn changed(&mut self) {
        // Those whose sender is gone stay as they are.
        tokio::select! {
            Ok(()) = self.vantages.changed() => {}
            Ok(()) = self.servers.changed() => {}
            else => std::future::pending().await,
        }
    }

    async fn ask(&self, path: &QueryPath) -> io::Result<()> {
        let transport = if path.l4 == L4::Udp { Transport::Udp } else { Transport::Tcp };
        match (&path.from, &self.host) {
            (Clients::Host, Some(host)) => host.ask(transport).await,
            (from, _) => self.query(from)?.ask(transport).await,
        }
    }

    async fn obstacle(&self, path: &QueryPath) -> Option<String> {
        let Clients::Bridge(bridge) = &path.from else { return None };
        let address = {
            let vantages = self.vantages.borrow();
            vantages.as_ref()?.get(bridge)?.as_ref().ok()?.vantage.address
        };
        trace::dropped(address, self.ask(path)).await.map(|dropped| dropped.to_string())
    }
}
