//! A node: a host namespace with a bridge and a masquerade as Docker makes them, containers on the bridge, and the
//! outside world, which has a route back to the containers and is the host's default route.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ranges;
use crate::dataplane::behaviour::paths;
use crate::dataplane::kernel_tests::netns::{Netns, PATIENCE, until};
use crate::dataplane::owner::LeaseChange;
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
             for family in ip ip6; do echo {} > /proc/sys/net/bridge/bridge-nf-call-${{family}}tables; done
             echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit",
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
        let node = Self { containers: containers.collect(), host, outside };
        for ns in node.containers.iter().chain([&node.host, &node.outside]) {
            until("links are up", || is_up(ns));
        }
        node
    }

    pub(super) fn container(&self, index: u8) -> &Netns {
        &self.containers[usize::from(index)]
    }

    /// How many ports of bridges are in hairpin mode.
    pub(super) fn hairpins(&self) -> usize {
        self.host.sh("bridge -d link").matches("hairpin on").count()
    }
}

/// Whether every link has its carrier, every bridge port forwards, and every route can be used: the kernel sees to that
/// a while after links were set up.
fn is_up(ns: &Netns) -> bool {
    let all = ns.sh("ip -o link show up; bridge link; ip route; ip -6 route; ip -6 addr");
    let not_yet = ["state DOWN", "LOWERLAYERDOWN", "NO-CARRIER", "state disabled", "linkdown", "tentative"];
    !not_yet.iter().any(|word| all.contains(word))
}

/// The data plane of a node, running until it is dropped. Its tables stay.
pub(super) struct Plane {
    pub(super) rulesets: watch::Sender<Option<Rulesets>>,
    pub(super) handle: Handle,
    /// Runs the part; ends with it.
    agent: Option<std::thread::JoinHandle<()>>,
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
        Self { handle: told.recv().unwrap(), rulesets, agent: Some(agent), stop }
    }

    /// Sends a ruleset and waits until the kernel has it.
    pub(super) fn apply(&self, ruleset: Ruleset) {
        let ruleset = Arc::new(ruleset);
        self.rulesets.send(Some([(View::Node, Arc::clone(&ruleset))].into())).unwrap();
        self.wait(|state| {
            state.in_sync && state.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, &ruleset))
        });
    }

    /// The state of the node's one namespace.
    pub(super) fn state(&self) -> NamespaceState {
        only(&self.handle.state().borrow()).clone()
    }

    pub(super) fn wait(&self, mut is: impl FnMut(&NamespaceState) -> bool) {
        let mut state = self.handle.state();
        let is = |state: &DataplaneState| is(only(state));
        let waited = block_on(async { tokio::time::timeout(PATIENCE, state.wait_for(is)).await.is_ok() });
        assert!(waited, "the data plane is in state {:?}", *self.handle.state().borrow());
    }

    /// Has DNS queries captured for longer than any test takes.
    pub(super) fn capture(&self) {
        block_on(self.handle.change_leases(LeaseChange::Renew(paths(), 10 * PATIENCE))).unwrap();
    }

    /// Waits until all that the kernel has told so far has taken effect.
    pub(super) fn settle(&self, host: &Netns) {
        let waiting = || {
            let sockets = host.run(|| std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
            // sk Eth Pid Groups Rmem ...
            sockets.lines().skip(1).any(|socket| socket.split_whitespace().nth(4) != Some("0"))
        };
        until("everything that the kernel told is read", || !waiting());
        // Whoever has read it is done with it before he takes a request.
        block_on(self.handle.end_leases()).unwrap();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.agent.take().map(std::thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the agent panicked");
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
    answer_tcp(ns, on, move |at, client| format!("{name} {} {}", at.ip(), client.ip()));
    answer_udp(ns, on, move |client| format!("{name} - {}", client.ip()));
}

/// Greets each connection, knowing the address that was dialled and who it thinks dials.
pub(super) fn answer_tcp(
    ns: &Netns,
    on: SocketAddr,
    greet: impl Fn(SocketAddr, SocketAddr) -> String + Send + 'static,
) {
    ns.serve(move || async move {
        let listener = tokio::net::TcpListener::bind(on).await.unwrap();
        loop {
            let (mut stream, client) = listener.accept().await.unwrap();
            // Whoever dialled may have gone.
            let _ = stream.write_all(greet(stream.local_addr().unwrap(), client).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
}

/// Answers each datagram, knowing who it thinks asks.
pub(super) fn answer_udp(ns: &Netns, on: SocketAddr, answer: impl Fn(SocketAddr) -> String + Send + 'static) {
    ns.serve(move || async move {
        let socket = tokio::net::UdpSocket::bind(on).await.unwrap();
        let mut buffer = [0; 64];
        loop {
            // An answer that was refused is an error of the next question.
            let Ok((_, client)) = socket.recv_from(&mut buffer).await else { continue };
            let _ = socket.send_to(answer(client).as_bytes(), client).await;
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
    dial_within(to, PATIENCE)
}

/// The same, where silence may be what is to come.
pub(super) fn dial_within(to: Frontend, time: Duration) -> Result<Answer, ErrorKind> {
    let address = to.address();
    match to.l4 {
        L4::Tcp => {
            let mut stream = TcpStream::connect_timeout(&address, time).map_err(|e| e.kind())?;
            stream.set_read_timeout(Some(time)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|e| e.kind())?;
            Ok(Answer::read(&text))
        }
        L4::Udp => {
            let socket = UdpSocket::bind((Family::of(to.vip).unspecified(), 0)).unwrap();
            socket.connect(address).unwrap();
            ask_within(&socket, time).map(|text| Answer::read(&text))
        }
    }
}

/// One question on a connected UDP socket.
pub(super) fn ask(socket: &UdpSocket) -> Result<String, ErrorKind> {
    ask_within(socket, PATIENCE)
}

/// The same, where the question may be lost and is asked again.
pub(super) fn ask_within(socket: &UdpSocket, time: Duration) -> Result<String, ErrorKind> {
    socket.set_read_timeout(Some(time)).unwrap();
    socket.send(b"?").map_err(|e| e.kind())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|e| e.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
