//! A node: a host namespace with a bridge and a masquerade as Docker makes them, containers on the bridge, and the
//! outside world, which has a route back to the containers and is the host's default route.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::range;
use crate::dataplane::netns::Netns;
use crate::dataplane::{DataplaneConfig, Handle, Metrics, spawn};
use crate::model::{Frontend, L4, Ruleset};

pub(super) const CONTAINERS: u8 = 3;
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(super) const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

/// The address of a container.
pub(super) fn address(container: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, 10 + container)
}

pub(super) struct Node {
    pub(super) host: Netns,
    pub(super) containers: Vec<Netns>,
    pub(super) outside: Netns,
}

impl Node {
    /// `bridge_nf`: whether bridged packets go through netfilter.
    pub(super) fn new(bridge_nf: bool) -> Self {
        let (host, outside) = (Netns::new(), Netns::new());
        host.sh(&format!(
            "ip link add br0 type bridge; ip addr add {BRIDGE}/24 dev br0; ip link set br0 up
             ip link add up0 type veth peer name eth0 netns {}
             ip addr add 10.9.0.1/24 dev up0; ip link set up0 up; ip route add default via {OUTSIDE}
             echo 1 > /proc/sys/net/ipv4/ip_forward
             nft 'table ip docker {{ chain post {{ type nat hook postrouting priority srcnat;
                  ip saddr 172.30.0.0/24 oifname != br0 masquerade; }}; }}'
             echo {} > /proc/sys/net/bridge/bridge-nf-call-iptables",
            outside.path(),
            u8::from(bridge_nf),
        ));
        outside.sh(&format!(
            "ip addr add {OUTSIDE}/24 dev eth0; ip link set eth0 up; ip route add 172.30.0.0/24 via 10.9.0.1
             ip route add local 10.80.0.0/16 dev lo"
        ));
        let containers = (0..CONTAINERS).map(|i| {
            let container = Netns::new();
            host.sh(&format!(
                "ip link add veth{i} type veth peer name eth0 netns {}
                 ip link set veth{i} master br0; ip link set veth{i} up",
                container.path()
            ));
            container.sh(&format!(
                "ip addr add {}/24 dev eth0; ip link set eth0 up; ip route add default via {BRIDGE}",
                address(i)
            ));
            container
        });
        Self { containers: containers.collect(), host, outside }
    }

    pub(super) fn container(&self, index: u8) -> &Netns {
        &self.containers[usize::from(index)]
    }
}

/// The data plane of a node, running.
pub(super) struct Plane {
    pub(super) rulesets: watch::Sender<Option<Arc<Ruleset>>>,
    pub(super) handle: Handle,
}

impl Plane {
    pub(super) fn start(host: &Netns) -> Self {
        let (rulesets, inbox) = watch::channel(None);
        let config = DataplaneConfig { vip_cidr: range(), capture: true, metrics: Metrics::default() };
        Self { handle: host.run(|| block_on(spawn(config, inbox))).unwrap(), rulesets }
    }

    /// Sends a ruleset and waits until the kernel has it.
    pub(super) fn apply(&self, ruleset: Ruleset) -> Duration {
        let ruleset = Arc::new(ruleset);
        let start = Instant::now();
        self.rulesets.send(Some(Arc::clone(&ruleset))).unwrap();
        self.wait(|state| {
            state.in_sync && state.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, &ruleset))
        });
        start.elapsed()
    }

    pub(super) fn wait(&self, is: impl FnMut(&crate::dataplane::DataplaneState) -> bool) {
        let mut state = self.handle.state();
        let waited = block_on(async { tokio::time::timeout(Duration::from_secs(5), state.wait_for(is)).await.is_ok() });
        assert!(waited, "the data plane is in state {:?}", *self.handle.state().borrow());
    }

    /// Ends the agent, not its tables.
    pub(super) fn stop(self) {
        let mut state = self.handle.state();
        drop(self.rulesets);
        block_on(async { while state.changed().await.is_ok() {} });
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Serves TCP and UDP on every address: says its name, the address that was dialled (TCP), and who it thinks asks.
pub(super) fn serve(ns: &Netns, name: &'static str, port: u16) {
    serve_on(ns, name, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
}

pub(super) fn serve_on(ns: &Netns, name: &'static str, on: SocketAddrV4) {
    let (tcp, udp) = ns.run(move || (TcpListener::bind(on).unwrap(), UdpSocket::bind(on).unwrap()));
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let _ = write!(stream, "{name} {} {}", local.ip(), peer.ip());
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(format!("{name} - {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What a server said: its name, the address that was dialled, who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) at: String,
    pub(super) client: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let mut words = text.split(' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Self { name: next(), at: next(), client: next() }
    }
}

/// Dials from a namespace, once.
pub(super) fn dial(from: &Netns, to: Frontend) -> Result<Answer, ErrorKind> {
    from.run(move || dial_here(to))
}

/// Dials from the calling thread's namespace, once.
pub(super) fn dial_here(to: Frontend) -> Result<Answer, ErrorKind> {
    let address = SocketAddrV4::new(to.vip, to.port.get());
    match to.l4 {
        L4::Tcp => {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), Duration::from_millis(900))
                .map_err(|e| e.kind())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|e| e.kind())?;
            Ok(Answer::read(&text))
        }
        L4::Udp => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(address).unwrap();
            ask(&socket).map(|text| Answer::read(&text))
        }
    }
}

/// One question on a connected UDP socket.
pub(super) fn ask(socket: &UdpSocket) -> Result<String, ErrorKind> {
    socket.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    socket.send(b"?").map_err(|e| e.kind())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|e| e.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
