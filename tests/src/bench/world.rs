//! One leg's world: a host as Docker leaves it, and a client and a server on its bridge, as containers are.
//!
//! Every leg has a world of its own. So the rules of one leg tax no other, and no flow of one leg can meet the
//! conntrack entry of another's: a NATed flow whose reply tuple is taken is dropped when it is confirmed, and its SYN
//! sent again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::Result;
use tokio::sync::oneshot;

use super::load;
use super::netns::Netns;

/// The bridge's name, Docker's own.
pub(crate) const BRIDGE: &str = "docker0";
/// iptables as it is fastest here; its nftables variant takes a hundred times as long to load thousands of chains.
pub(crate) const IPTABLES_RESTORE: &str = "iptables-legacy-restore";
/// What Docker has in its tables before any port is published (Docker 20 to 27): every leg's packets pass it where a
/// node's would.
const DOCKER: &str = "\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";
/// The client's address.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// Where the server answers: four endpoints.
pub(crate) const ENDPOINTS: [SocketAddrV4; 4] = [endpoint(11), endpoint(12), endpoint(13), endpoint(14)];

const fn endpoint(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(172, 17, 0, last), 80)
}

/// Three namespaces, wired.
#[derive(Debug)]
pub(crate) struct World {
    /// Holds the bridge and a way out that leads nowhere; every VIP is translated here.
    pub(crate) host: Netns,
    /// A container that dials.
    pub(crate) client: Netns,
    /// A container that answers, at four addresses.
    pub(crate) server: Netns,
}

impl World {
    /// Wires a world. `filtered` is `bridge-nf-call-iptables`: whether bridged packets pass the IP hooks, as they must
    /// for a translated reply between two containers of one bridge to find its way back.
    pub(crate) fn new(filtered: bool) -> Result<Self> {
        let world = Self { host: Netns::new()?, client: Netns::new()?, server: Netns::new()? };
        world.host.ip(&format!(
            "link add {BRIDGE} type bridge\n\
             addr add 172.17.0.1/16 dev {BRIDGE}\n\
             link set {BRIDGE} up\n\
             link add eth0 type veth peer name nowhere\n\
             link set nowhere up\n\
             addr add 10.77.0.1/24 dev eth0\n\
             link set eth0 up\n\
             route add default via 10.77.0.254\n"
        ))?;
        world.host.sysctl("ipv4/ip_forward", "1")?;
        world.host.feed(&mut Command::new(IPTABLES_RESTORE), DOCKER)?;
        world.host.sysctl("bridge/bridge-nf-call-iptables", if filtered { "1" } else { "0" })?;
        world.attach(&world.client, "veth-client", &[CLIENT])?;
        world.attach(&world.server, "veth-server", &ENDPOINTS.map(|endpoint| *endpoint.ip()))?;
        for netns in [&world.host, &world.client, &world.server] {
            // As many connections as a run makes fit beside each other's TIME_WAIT.
            netns.sysctl("ipv4/ip_local_port_range", "10000 65000")?;
        }
        Ok(world)
    }

    fn attach(&self, container: &Netns, port: &str, addresses: &[Ipv4Addr]) -> Result<()> {
        self.host.ip(&format!(
            "link add {port} type veth peer name eth0 netns {}\n\
             link set {port} master {BRIDGE}\n\
             link set {port} up\n",
            container.path()
        ))?;
        let mut batch = String::new();
        for address in addresses {
            batch += &format!("addr add {address}/16 dev eth0\n");
        }
        container.ip(&(batch + "link set eth0 up\nroute add default via 172.17.0.1\n"))
    }
}

/// A running server. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Answers requests at these addresses of a namespace, on a thread of its own. Listens when this returns.
    pub(crate) fn start(netns: &Netns, at: &[SocketAddrV4]) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (listening, ready) = std::sync::mpsc::channel();
        let at = at.to_vec();
        let thread = netns.spawn(move || load::serve(&at, &listening, stopped))?;
        let server = Self { stop: Some(stop), thread: Some(thread) };
        match ready.recv() {
            Ok(()) => Ok(server),
            Err(_) => {
                server.end()?;
                anyhow::bail!("the server ended before it listened")
            }
        }
    }

    fn end(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => anyhow::bail!("the server panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::warn!(%error, "the server did not end well");
        }
    }
}
