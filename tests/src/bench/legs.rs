//! The roads from a client to a server that are compared, each in a world of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use meshdog::model::View;

use super::envoy::{self, Envoy, Filter};
use super::load::{self, Load};
use super::programmed::Programmed;
use super::report::DIRECT;
use super::services::Services;
use super::stats::{Latencies, Sample};
use super::world::{ENDPOINTS, IPTABLES_RESTORE, Server, World};

/// How long a fresh leg may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the client runs, and what the host does with its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// In a container on the bridge. A translated source brings replies back through the host.
    Container,
    /// As before, where bridged packets pass the IP hooks (`bridge-nf-call-iptables`), as older versions of Docker want
    /// it.
    ContainerFiltered,
    /// In the host's own namespace, as tasks in host mode are.
    Host,
}

impl Client {
    fn world(self) -> Result<World> {
        World::new(self == Self::ContainerFiltered)
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Container => "",
            Self::ContainerFiltered => ", bridge-nf",
            Self::Host => ", host client",
        }
    }
}

/// A road that is ready to be driven on.
#[derive(Debug)]
pub(crate) struct Leg {
    /// What it is called in figures.
    pub(crate) name: String,
    /// The leg without anything on the road that this one is held against.
    pub(crate) baseline: String,
    client: Client,
    targets: Vec<SocketAddrV4>,
    proxies: Vec<Envoy>,
    _programmed: Option<Programmed>,
    _server: Server,
    world: World,
}

impl Leg {
    /// Straight to the endpoints, no rule on the road but Docker's.
    pub(crate) fn direct(client: Client) -> Result<Self> {
        let (world, server) = answered(client)?;
        Self::new(DIRECT, client, ENDPOINTS.to_vec(), world, server).ready()
    }

    /// Through VIPs that meshdog's own data plane has programmed.
    pub(crate) fn meshdog(client: Client, services: Services) -> Result<Self> {
        let (world, server) = answered(client)?;
        let mut programmed = Programmed::start(&world.host)?;
        programmed.apply([(View::Node, Arc::new(services.ruleset()?))].into())?;
        let leg = Self::new("meshdog", client, services.targets()?, world, server);
        Self { _programmed: Some(programmed), ..leg }.ready()
    }

    /// Through VIPs in chains of kube-proxy's shape.
    pub(crate) fn iptables(services: Services) -> Result<Self> {
        let (world, server) = answered(Client::Container)?;
        world.host.feed(Command::new(IPTABLES_RESTORE).arg("--noflush"), &services.iptables()?)?;
        Self::new("iptables", Client::Container, services.targets()?, world, server).ready()
    }

    /// Through one rule for all VIPs, written by hand: what translating costs, however it is decided.
    pub(crate) fn one_rule(services: Services) -> Result<Self> {
        let (world, server) = answered(Client::Container)?;
        world.host.feed(Command::new("nft").args(["-f", "-"]), &Services::one_rule()?)?;
        Self::new("one nft rule", Client::Container, services.targets()?, world, server).ready()
    }

    /// Through an Envoy beside the client.
    pub(crate) fn envoy_one_hop(program: &Path, filter: Filter) -> Result<Self> {
        let (world, server) = answered(Client::Container)?;
        let egress = Envoy::start(program, &world.client, filter, &envoy::EGRESS, &ENDPOINTS)?;
        let leg = Self::new(envoy_name(filter, "1 hop"), Client::Container, envoy::EGRESS.to_vec(), world, server);
        Self { proxies: vec![egress], ..leg }.ready()
    }

    /// Through an Envoy beside the client and one beside the server, as Service Connect has it.
    pub(crate) fn envoy_two_hops(program: &Path, filter: Filter) -> Result<Self> {
        let world = Client::Container.world()?;
        let server = Server::start(&world.server, &[envoy::BEHIND])?;
        let ingress = Envoy::start(program, &world.server, filter, &ENDPOINTS, &[envoy::BEHIND])?;
        let egress = Envoy::start(program, &world.client, filter, &envoy::EGRESS, &ENDPOINTS)?;
        let leg = Self::new(envoy_name(filter, "2 hops"), Client::Container, envoy::EGRESS.to_vec(), world, server);
        Self { proxies: vec![egress, ingress], ..leg }.ready()
    }

    fn new(name: impl Into<String>, client: Client, targets: Vec<SocketAddrV4>, world: World, server: Server) -> Self {
        Self {
            name: name.into() + client.suffix(),
            baseline: DIRECT.to_owned() + client.suffix(),
            client,
            targets,
            proxies: Vec::new(),
            _programmed: None,
            _server: server,
            world,
        }
    }

    /// Waits until every target answers.
    fn ready(self) -> Result<Self> {
        let begun = Instant::now();
        for &target in &self.targets {
            while !self.inside(|| load::answers(target))? {
                ensure!(begun.elapsed() < PATIENCE, "{}: {target} does not answer", self.name);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(self)
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.client {
            Client::Container | Client::ContainerFiltered => self.world.client.run(work),
            Client::Host => self.world.host.run(work),
        }
    }

    /// Loads the leg, and counts the SYNs that had to be sent again.
    pub(crate) fn load(&self, load: Load, clients: usize, length: Duration) -> Result<(Sample, u64)> {
        let netns = [&self.world.client, &self.world.host];
        let retransmits = || netns.iter().map(|netns| netns.syn_retransmits()).sum::<Result<u64>>();
        let before = retransmits()?;
        let sample = self.inside(|| load::load(load, &self.targets, clients, length))?;
        Ok((sample, retransmits()? - before))
    }

    /// Connects to the first target so many times.
    pub(crate) fn connects(&self, times: usize) -> Result<Latencies> {
        let Some(&target) = self.targets.first() else { return Ok(Latencies::default()) };
        self.inside(|| load::connects(target, times))
    }

    /// The resident memory of each proxy on the road, in MiB.
    pub(crate) fn proxies_mib(&self) -> Result<Vec<f64>> {
        self.proxies.iter().map(Envoy::resident_mib).collect()
    }
}

fn answered(client: Client) -> Result<(World, Server)> {
    let world = client.world()?;
    let any = ENDPOINTS.map(|endpoint| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, endpoint.port()));
    let server = Server::start(&world.server, any.get(..1).unwrap_or_default())?;
    Ok((world, server))
}

fn envoy_name(filter: Filter, hops: &str) -> String {
    let filter = match filter {
        Filter::Tcp => "tcp",
        Filter::Http => "http",
    };
    format!("envoy {filter} {hops}")
}
