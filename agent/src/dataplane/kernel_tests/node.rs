//! A node: a host namespace with a bridge and a masquerade as Docker makes them, containers on the bridge, and the
//! outside world, which has a route back to the containers and is the host's default route.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ranges;
use crate::dataplane::kernel_tests::netns::Netns;
use crate::dataplane::{DataplaneConfig, DataplaneState, Handle, Metrics, NamespaceState, netns, start};
use crate::model::{Family, Frontend, L4, Ruleset, Rulesets, View};

pub(super) const CONTAINERS: u8 = 3;
pub(super) const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
pub(super) const BRIDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 1));

/// The address of a container.
pub(super) fn address(container: u8) -> IpAddr {
    [172, 30, 0, 10 + container].into()
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
             ip addr add fd00:30::1/64 dev br0 nodad; ip addr add fd00:9::1/64 dev up0 nodad
             ip route add default via fd00:9::2; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             nft 'table ip docker {{ chain post {{ type nat hook postrouting priority srcnat;
                  ip saddr 172.30.0.0/24 oifname != br0 masquerade; }}; }}'
             for family in ip ip6; do echo {} > /proc/sys/net/bridge/bridge-nf-call-${{family}}tables; done",
            outside.path(),
            u8::from(bridge_nf),
        ));
        outside.sh(&format!(
            "ip addr add {OUTSIDE}/24 dev eth0; ip link set eth0 up; ip route add 172.30.0.0/24 via 10.9.0.1
             ip route add local 10.80.0.0/16 dev lo
             ip addr add fd00:9::2/64 dev eth0 nodad; ip route add fd00:30::/64 via fd00:9::1
             ip route add local fd00:80::/64 dev lo"
        ));
        let containers = (0..CONTAINERS).map(|i| {
            let container = Netns::new();
            host.sh(&format!(
                "ip link add veth{i} type veth peer name eth0 netns {}
                 ip link set veth{i} master br0; ip link set veth{i} up",
                container.path()
            ));
            container.sh(&format!(
                "ip addr add {}/24 dev eth0; ip link set eth0 up; ip route add default via {BRIDGE}
                 ip addr add fd00:30::1{i}/64 dev eth0 nodad; ip route add default via fd00:30::1",
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
    pub(super) rulesets: watch::Sender<Option<Rulesets>>,
    pub(super) handle: Handle,
    /// Runs the part; ends with it.
    agent: std::thread::JoinHandle<()>,
    stop: CancellationToken,
}

impl Plane {
    pub(super) fn start(host: &Netns) -> Self {
        let (rulesets, inbox) = watch::channel(None);
        let config = DataplaneConfig { vip_ranges: ranges(), capture: true, metrics: Metrics::default() };
        let netns = netns::Netns::open(Path::new(&host.path())).unwrap();
        let (_, namespaces) = watch::channel([(netns.id(), (netns, View::Node))].into());
        let (tell, told) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let agent = std::thread::spawn(move || {
            block_on(async move {
                let (part, handle) = start(config, inbox, namespaces).await.unwrap();
                tell.send(handle).unwrap();
                part.run(stopped).await;
            });
        });
        Self { handle: told.recv().unwrap(), rulesets, agent, stop }
    }

    /// Sends a ruleset and waits until the kernel has it.
    pub(super) fn apply(&self, ruleset: Ruleset) -> Duration {
        let ruleset = Arc::new(ruleset);
        let start = Instant::now();
        self.rulesets.send(Some([(View::Node, Arc::clone(&ruleset))].into())).unwrap();
        self.wait(|state| {
            state.in_sync && state.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, &ruleset))
        });
        start.elapsed()
    }

    /// The state of the node's one namespace.
    pub(super) fn state(&self) -> NamespaceState {
        only(&self.handle.state().borrow()).clone()
    }

    pub(super) fn wait(&self, mut is: impl FnMut(&NamespaceState) -> bool) {
        let mut state = self.handle.state();
        let is = |state: &DataplaneState| is(only(state));
        let waited = block_on(async { tokio::time::timeout(Duration::from_secs(5), state.wait_for(is)).await.is_ok() });
        assert!(waited, "the data plane is in state {:?}", *self.handle.state().borrow());
    }

    /// Ends the agent, not its tables.
    pub(super) fn stop(self) {
        self.stop.cancel();
        self.agent.join().unwrap();
    }
}

fn only(state: &DataplaneState) -> &NamespaceState {
    state.namespaces.values().next().unwrap()
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Serves TCP and UDP on every address: says its name, the address that was dialled (TCP), and who it thinks asks.
pub(super) fn serve(ns: &Netns, name: &'static str, port: u16) {
    serve_on(ns, name, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
}

pub(super) fn serve_on(ns: &Netns, name: &'static str, on: SocketAddr) {
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
    let address = to.address();
    match to.l4 {
        L4::Tcp => {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(900)).map_err(|e| e.kind())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|e| e.kind())?;
            Ok(Answer::read(&text))
        }
        L4::Udp => {
            let socket = UdpSocket::bind((Family::of(to.vip).unspecified(), 0)).unwrap();
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
