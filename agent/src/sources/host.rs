//! The host's API: who this node is, and whether the API answers.
//!
//! Owns the connection to the host's API and to the instance metadata service. Publishes [`Node`] (`None` until it is
//! known) and the API's [`Source`]. The mesh does not depend on the API: where it has not answered in time, the node is
//! published from the settings and the kernel alone, and amended when the API answers. Never changes anything on the
//! host.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::Client;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::clients::backoff::Backoff;
use crate::clients::http;
use crate::config::{Auto, NodeSettings, Paths};
use crate::model::{Node, Source, SourceState, error_chain, publish, untrusted};

mod imds;
mod node;

use imds::{Imds, WantedFacts};
use node::{HostFacts, KernelFacts, NodeFacts, Unknown, merge};

/// The host's hosts file, as a host container sees it.
const HOSTS: &str = "/etc/hosts";
/// How much of it is read, in bytes.
const MAX_HOSTS_FILE: u64 = 64 << 10;

/// How the API is asked.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two questions.
    poll: Duration,
    /// How long the node waits for the API's first answer.
    grace: Duration,
    /// After the first failure; doubles up to `poll`.
    retry: Duration,
    /// For one question.
    answer: Duration,
}

const PACE: Pace = Pace {
    poll: Duration::from_secs(5),
    grace: Duration::from_secs(5),
    retry: Duration::from_millis(250),
    answer: Duration::from_secs(4),
};

/// Why the host cannot be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum HostSetupError {
    /// No client for the host's API.
    #[error(transparent)]
    Host(#[from] bottlerocket_settings::Error),
    /// No client for the instance metadata service.
    #[error("cannot make a client for the instance metadata service")]
    Imds(#[source] http::Error),
}

/// Why the blocks of the VPC are not known.
#[derive(Debug, thiserror::Error)]
pub enum VpcError {
    /// The host's API does not say whether this is an AWS host.
    #[error(transparent)]
    Host(#[from] bottlerocket_settings::Error),
    /// No client for the metadata service.
    #[error("cannot make a client for the instance metadata service")]
    Client(#[source] http::Error),
    /// The metadata service does not say.
    #[error("{0}")]
    Imds(String),
}

/// The IPv4 blocks of the VPC that this host is in; none where the host's API does not call it an AWS host.
///
/// # Errors
/// [`VpcError`]
pub async fn vpc_blocks(client: &Client, imds: Url) -> Result<Vec<IpNet>, VpcError> {
    let (settings, os) = tokio::try_join!(client.settings(), client.os())?;
    if !HostFacts::new(settings, os).aws {
        return Ok(Vec::new());
    }
    let imds = Imds::new(imds).map_err(VpcError::Client)?;
    imds.vpc_blocks().await.map_err(|error| VpcError::Imds(error_chain(&error)))
}

/// The task that owns the host's API. Made first, so that others can subscribe; then run.
#[derive(Debug)]
pub struct HostWatch {
    client: Client,
    imds: Imds,
    settings: NodeSettings,
    pace: Pace,
    node: watch::Sender<Option<Node>>,
    source: watch::Sender<Source>,
}

impl HostWatch {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`HostSetupError`] where a client cannot be made.
    pub fn new(settings: NodeSettings, paths: &Paths) -> Result<Self, HostSetupError> {
        Ok(Self {
            client: Client::new(&paths.api_socket)?,
            imds: Imds::new(paths.imds.clone()).map_err(HostSetupError::Imds)?,
            settings,
            pace: PACE,
            node: watch::Sender::new(None),
            source: watch::Sender::new(Source::starting()),
        })
    }

    /// This node; changes are published only where something differs.
    #[must_use]
    pub fn node(&self) -> watch::Receiver<Option<Node>> {
        self.node.subscribe()
    }

    /// How the host's API is doing.
    #[must_use]
    pub fn source(&self) -> watch::Receiver<Source> {
        self.source.subscribe()
    }

    /// Asks for ever; stopped by dropping it.
    pub async fn run(mut self) {
        let wait_until = Instant::now() + self.pace.grace;
        let mut host = None;
        let mut delays = Backoff::new(self.pace.retry, self.pace.poll).delays();
        loop {
            // Until the wait is over, nothing may take longer than that.
            let left = wait_until.saturating_duration_since(Instant::now());
            let within = if left.is_zero() { self.pace.answer } else { self.pace.answer.min(left) };
            let (state, pause) = match self.ask(within).await {
                Ok(facts) => {
                    self.learn_instance(facts.aws).await;
                    host = Some(facts);
                    delays.reset();
                    (SourceState::Up, self.pace.poll)
                }
                Err(down) => (down, delays.wait()),
            };
            let left = wait_until.saturating_duration_since(Instant::now());
            if host.is_some() || left.is_zero() {
                let unknown = self.publish(host.clone().unwrap_or_default()).err();
                self.enter(unknown.map_or(state, |unknown| SourceState::down(&unknown)));
                sleep(pause).await;
            } else {
                self.enter(state);
                sleep(pause.min(left)).await;
            }
        }
    }

    /// What the host says, or the state that its silence is.
    async fn ask(&self, within: Duration) -> Result<HostFacts, SourceState> {
        let both = async { tokio::try_join!(self.client.settings(), self.client.os()) };
        match timeout(within, both).await {
            Ok(Ok((settings, os))) => Ok(HostFacts::new(settings, os)),
            Ok(Err(error)) => Err(SourceState::down(&error)),
            Err(_) => Err(SourceState::Down(format!("the host API did not answer within {within:?}").into())),
        }
    }

    async fn learn_instance(&mut self, aws: bool) {
        let wanted = WantedFacts {
            address: aws && self.settings.advertise == Auto::Auto,
            zone: aws && self.settings.zone == Auto::Auto,
        };
        if let Err(error) = self.imds.ask(wanted).await {
            tracing::warn!(error = %error_chain(&error),
                "cannot read this node's address or zone from the instance metadata service; set node.advertise and node.zone");
        }
    }

    /// Publishes the node if it differs; the last one that was known stays where there is none.
    fn publish(&self, host: HostFacts) -> Result<(), Unknown> {
        let facts = NodeFacts { host, instance: self.imds.facts().clone(), kernel: kernel() };
        let node = merge(&self.settings, &facts)?;
        if publish(&self.node, Some(node.clone()), PartialEq::eq) {
            tracing::info!(name = %node.name, address = %node.address, zone = node.zone.as_deref(),
                "this node is known by another name, address or zone");
        }
        Ok(())
    }

    fn enter(&self, state: SourceState) {
        super::enter(&self.source, "host_api", |_| state);
    }
}

fn kernel() -> KernelFacts {
    let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    KernelFacts {
        hostname: hostname.and_then(|name| untrusted::name(&name)),
        address: default_source().ok(),
        hosts: hosts(Path::new(HOSTS)).unwrap_or_default(),
    }
}

/// The names in a hosts file, as many as are kept.
fn hosts(path: &Path) -> io::Result<Arc<[Box<str>]>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_HOSTS_FILE).read_to_end(&mut text)?;
    Ok(node::names_of_hosts(&String::from_utf8_lossy(&text)))
}

/// The address that packets along the default route leave with: the kernel's own choice for a destination that nobody
/// has (TEST-NET-1, RFC 5737). Connecting a datagram socket asks the routing table and sends nothing.
fn default_source() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    match socket.local_addr()?.ip() {
        address if !address.is_loopback() && !address.is_unspecified() => Ok(address),
        _ => Err(std::io::ErrorKind::AddrNotAvailable.into()),
    }
}

#[cfg(test)]
mod tests;
