//! The whole resolver on loopback sockets, with name servers of the tests' own. What promises haste is tried with
//! the clock at a standstill: an answer that comes then has waited for nobody.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, NULL, opt::EdnsOption};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::metrics::AnswerKind;
use super::transport::Transport;
use super::*;
use crate::config::Auto;
use crate::dataplane::vantages::Vantages;
use crate::frozen_clock::FrozenClock;
use crate::model::{
    CapturedServers, Container, DockerHealth, DualStack, Names, Namespace, Network, QueryPath, VipRanges,
};
use crate::names::served::Served;

/// For what must come; no promise.
const LONG: Duration = Duration::from_secs(60);
/// How long a name server's answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);
/// More than lies between two renewals of the lease.
const RENEWED: Duration = Duration::from_secs(2);

/// Where nobody listens.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(127, 77, 0, 1)), 9);

type Received = Vec<(Transport, Vec<u8>)>;

/// An upstream server that answers as told and remembers what it was asked.
struct Upstream {
    address: SocketAddr,
    seen: watch::Receiver<Received>,
}

impl Upstream {
    /// Waits until it has been asked so often.
    async fn asked(&self, times: usize) {
        let mut seen = self.seen.clone();
        timeout(LONG, seen.wait_for(|seen| seen.len() == times)).await.expect("not asked").unwrap();
    }
}

/// `reply` makes the messages that a query is answered with, in order.
async fn upstream(reply: impl Fn(Transport, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Upstream {
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Another test may have the port for UDP.
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let (note, seen) = watch::channel(Received::default());
    let answer = Arc::new(move |transport, query: &[u8]| {
        note.send_modify(|seen| seen.push((transport, query.to_vec())));
        reply(transport, query)
    });
    let answers = Arc::clone(&answer);
    tokio::spawn(async move {
        let mut buffer = [0; 65535];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            for message in answers(Transport::Udp, &buffer[..length]) {
                udp.send_to(&message, client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                while let Some(query) = read_frame(&mut stream).await {
                    for message in answer(Transport::Tcp, &query) {
                        stream.write_all(&framed(&message)).await.unwrap();
                    }
                }
            });
        }
    });
    Upstream { address, seen }
}

/// An upstream that answers every query with this code.
async fn upstream_saying(code: ResponseCode) -> Upstream {
    upstream(move |_, query| vec![response(query, |message| message.metadata.response_code = code)]).await
}

fn response(query: &[u8], edit: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    edit(&mut message);
    message.to_vec().unwrap()
}

struct Resolver {
    address: SocketAddr,
    served: watch::Sender<Option<Served>>,
    servers: watch::Sender<CapturedServers>,
    containers: watch::Sender<Option<Containers>>,
    metrics: ResolverMetrics,
    state: watch::Receiver<ResolverState>,
    renewals: watch::Receiver<u32>,
}

struct Renewals(watch::Sender<u32>);

impl Lease for Renewals {
    type Error = Infallible;

    async fn renew(&mut self, _: Arc<[QueryPath]>) -> Result<(), Infallible> {
        self.0.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn config() -> ResolverConfig {
    let prod: Namespace = "prod".parse().unwrap();
    ResolverConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        host: false,
        upstream: Auto::Auto,
        zones: Zones::new([&prod], false, VipRanges::default()),
        mark: None,
    }
}

/// A resolver that a container at 127.0.0.1 reaches instead of this server.
async fn resolver(server: SocketAddr) -> Resolver {
    resolver_with(config(), CapturedServers { containers: [server].into(), ..CapturedServers::default() }).await
}

/// One that also answers the host's own queries, and so has a way to itself that it can try.
async fn leasing(server: SocketAddr) -> Resolver {
    let servers = CapturedServers { containers: [server].into(), ..CapturedServers::default() };
    resolver_with(ResolverConfig { host: true, ..config() }, servers).await
}

async fn resolver_with(config: ResolverConfig, servers: CapturedServers) -> Resolver {
    let (served, served_in) = watch::channel(None);
    let (servers, servers_in) = watch::channel(servers);
    let (containers, containers_in) = watch::channel(None);
    let (state, mut seen_state) = watch::channel(ResolverState::Starting);
    let (renewals, seen_renewals) = watch::channel(0);
    let metrics = ResolverMetrics::default();
    let (_, vantages) = watch::channel(Some(Vantages::default()));
    let inputs = ResolverInputs { served: served_in, servers: servers_in, containers: containers_in, vantages };
    tokio::spawn(run(config, inputs, Renewals(renewals), metrics.clone(), state, CancellationToken::new()));
    let up = seen_state.wait_for(|state| matches!(state, ResolverState::Listening { .. })).await.unwrap().clone();
    let ResolverState::Listening { address, .. } = up else { panic!("{up:?}") };
    Resolver { address, served, servers, containers, metrics, state: seen_state, renewals: seen_renewals }
}

/// A container at this address.
fn container(address: IpAddr) -> Container {
    Container {
        id: address.to_string().into(),
        name: "c".into(),
        image: "i".into(),
        labels: Arc::default(),
        network: Network::Bridge { address: address.into(), published: Arc::default() },
        addresses: [address].into(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        hosts: crate::model::HostsFile::None,
        health: DockerHealth::None,
        started_ms: 0,
        stopping: false,
        paused: false,
    }
}

impl Resolver {
    fn publish(&self, names: &[&str]) {
        let vip = DualStack::V4([198, 19, 0, 7].into());
        let names: Names = names.iter().map(|name| (name.parse().unwrap(), vip)).collect();
        self.served.send_replace(Some(Served { names, ..Served::default() }));
    }

    /// Docker tells of containers at these addresses.
    async fn know(&self, addresses: &[&str]) {
        let all = addresses.iter().map(|address| container(address.parse().unwrap()));
        let running = all.map(|container| (container.id.clone(), Arc::new(container))).collect();
        self.containers.send_replace(Some(Containers { running, ..Containers::default() }));
        // Whoever follows it has a turn before anything comes over a socket.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// A client at another address.
    async fn client_at(&self, address: &str) -> UdpSocket {
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn ask_raw(client: &UdpSocket, query: &[u8]) -> Vec<u8> {
    client.send(query).await.unwrap();
    let mut answer = vec![0; 65535];
    let length = timeout(LONG, client.recv(&mut answer)).await.expect("no answer").unwrap();
    answer.truncate(length);
    answer
}

async fn ask(client: &UdpSocket, query: &Message) -> Message {
    let answer = Message::from_vec(&ask_raw(client, &query.to_vec().unwrap()).await).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    answer
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

/// Reads a frame that has to come, or the end that has to.
async fn read_soon(stream: &mut TcpStream) -> Option<Vec<u8>> {
    timeout(Duration::from_secs(1), read_frame(stream)).await.expect("neither answered nor closed")
}

#[tokio::test]
async fn names_appear_and_vanish_under_a_living_client() {
    let upstream = upstream_saying(ResponseCode::NXDomain).await;
    let resolver = resolver(upstream.address).await;
    let client = resolver.client().await;
    let query = query("orders.", RecordType::A);
    let code = async || ask(&client, &query).await.metadata.response_code;
    assert_eq!(code().await, ResponseCode::NXDomain);
    resolver.publish(&["orders"]);
    let answer = ask(&client, &query).await;
    assert_eq!(answer.answers[0].data, RData::A(A::new(198, 19, 0, 7)));
    resolver.publish(&["payments"]);
    assert_eq!(code().await, ResponseCode::NXDomain);

    let mut registry = Registry::default();
    resolver.metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"dns_queries_total{kind="mesh",rcode="NOERROR"} 1"#), "{text}");
    assert!(text.contains(r#"dns_queries_total{kind="forwarded",rcode="NXDOMAIN"} 2"#), "{text}");
}

#[tokio::test]
async fn other_queries_pass_byte_for_byte() {
    let reply = |_, query: &[u8]| {
        vec![response(query, |message| {
            let data = RData::Unknown { code: RecordType::Unknown(65280), rdata: NULL::with(vec![0, 255, 7]) };
            message.answers.push(Record::from_rdata(message.queries[0].name.clone(), 77, data));
            message.metadata.authentic_data = true;
        })]
    };
    let upstream = upstream(reply).await;
    let resolver = resolver(upstream.address).await;
    resolver.publish(&["orders"]);

    let mut asked = query("ExAmple.com.", RecordType::Unknown(65280));
    asked.metadata.checking_disabled = true;
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    edns.options_mut().insert(EdnsOption::Unknown(10, b"cookie--".to_vec()));
    edns.options_mut().insert(EdnsOption::Unknown(65001, vec![0, 1, 2]));
    asked.edns = Some(edns);
    let asked = asked.to_vec().unwrap();

    let over_udp = ask_raw(&resolver.client().await, &asked).await;
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&framed(&asked)).await.unwrap();
    let over_tcp = read_frame(&mut stream).await.unwrap();

    let seen = upstream.seen.borrow();
    assert_eq!(seen.iter().map(|(transport, _)| *transport).collect::<Vec<_>>(), [Transport::Udp, Transport::Tcp]);
    let expected = &reply(Transport::Udp, &asked)[0];
    for ((_, query), answer) in seen.iter().zip([over_udp, over_tcp]) {
        assert_eq!(query[2..], asked[2..], "only the id may differ");
        assert_eq!(&answer, expected, "under the client's own id");
    }
}

#[tokio::test]
async fn a_datagram_may_be_as_large_as_they_come() {
    let upstream = upstream(|_, query| {
        let mut answer = vec![7; 65_000];
        answer[..12].copy_from_slice(&query[..12]);
        answer[2] |= 0x80;
        vec![answer]
    })
    .await;
    let resolver = resolver(upstream.address).await;
    let mut asked = vec![9; 60_000];
    asked[..12].copy_from_slice(&[0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let answer = ask_raw(&resolver.client().await, &asked).await;
    assert_eq!((answer.len(), &answer[..2]), (65_000, &asked[..2]));
    let seen = upstream.seen.borrow();
    assert_eq!(seen[0].1[2..], asked[2..], "an update of 60,000 bytes, but for its id");
}

#[tokio::test]
async fn each_query_goes_to_the_server_that_was_asked_and_to_no_other() {
    let (silent, good) = (upstream(|_, _| vec![]).await, upstream_saying(ResponseCode::ServFail).await);
    let resolver = resolver(silent.address).await;
    let clock = FrozenClock::new();
    let (client, query) = (resolver.client().await, query("example.com.", RecordType::A));
    client.send(&query.to_vec().unwrap()).await.unwrap();
    silent.asked(1).await;
    clock.advance(ANSWER).await;
    clock.advance_until(Duration::ZERO, "given up", || resolver.metrics.get(AnswerKind::Unanswered, None) == 1).await;
    assert_eq!((silent.seen.borrow().len(), good.seen.borrow().len()), (1, 0), "asked once, and nobody else");

    let places = [good.address, silent.address].into();
    resolver.servers.send_replace(CapturedServers { containers: places, ..CapturedServers::default() });
    assert_eq!(ask(&client, &query).await.metadata.response_code, ResponseCode::ServFail, "as the server says");
    assert_eq!(silent.seen.borrow().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_at_once_and_one_that_was_never_captured_is_silent() {
    let resolver = resolver(NOBODY).await;
    let _standstill = FrozenClock::new();
    let (client, foreign) = (resolver.client().await, query("example.com.", RecordType::A));
    assert_eq!(ask(&client, &foreign).await.metadata.response_code, ResponseCode::ServFail);
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&framed(&foreign.to_vec().unwrap())).await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "reset, as by the server's kernel");
    // Unless there is an answer that the client may not have read yet.
    let own = query("orders.prod.", RecordType::A);
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&[framed(&own.to_vec().unwrap()), framed(&foreign.to_vec().unwrap())].concat()).await.unwrap();
    assert!(read_soon(&mut stream).await.is_some());
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
}

#[tokio::test]
async fn the_host_gets_qualified_names_by_its_own_listeners_and_its_upstream() {
    let (asked, given) = (upstream_saying(ResponseCode::NoError).await, upstream_saying(ResponseCode::NXDomain).await);
    for (upstream, code) in
        [(Auto::Auto, ResponseCode::NoError), (Auto::Set(vec![given.address]), ResponseCode::NXDomain)]
    {
        // Ports in a row, as in the kernel's maps.
        let listen = loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            if first.port() < 65_000 {
                break first;
            }
        };
        let servers = CapturedServers { containers: [NOBODY].into(), host: [asked.address].into() };
        let config = ResolverConfig { listen, host: true, upstream, ..config() };
        let resolver = resolver_with(config, servers).await;
        resolver.publish(&["orders", "orders.prod"]);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = listen.port() + crate::model::MAX_CAPTURED;
        client.connect((listen.ip(), port)).await.unwrap();
        assert_eq!(ask(&client, &query("orders.prod.", RecordType::A)).await.answers.len(), 1);
        let alias = ask(&client, &query("orders.", RecordType::A)).await;
        assert_eq!(alias.metadata.response_code, code, "an alias of one label is not the host's");
    }
}

#[tokio::test]
async fn spoofed_answers_are_ignored() {
    let upstream = upstream(|_, query| {
        let other_id = response(query, |message| message.metadata.id ^= 1);
        let right = response(query, |message| message.metadata.response_code = ResponseCode::NXDomain);
        vec![vec![], b"garbage".to_vec(), query.to_vec(), other_id, right]
    })
    .await;
    let resolver = resolver(upstream.address).await;
    let asked = query("bank.com.", RecordType::A);
    let answer = ask(&resolver.client().await, &asked).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0));
    let seen = upstream.seen.borrow();
    assert!(seen.iter().any(|(_, query)| query[..2] != asked.metadata.id.to_be_bytes()), "ids are our own");
}

#[tokio::test]
async fn garbage_is_survived_and_responses_are_never_answered() {
    let resolver = resolver(NOBODY).await;
    resolver.publish(&["orders"]);
    let client = resolver.client().await;
    let good = query("orders.", RecordType::A);
    let loud = good.clone().into_response().to_vec().unwrap();
    for junk in [&b""[..], b"\0", &[0xff; 600], &[0; 9000], &loud] {
        client.send(junk).await.unwrap();
    }
    // Loopback keeps the order: an answer to anything before would come first.
    assert_eq!(ask(&client, &good).await.answers.len(), 1);

    let _standstill = FrozenClock::new();
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&[0xff; 70_000]).await.ok();
    assert_eq!(read_soon(&mut stream).await, None, "closed at once");
}

#[tokio::test]
async fn a_connection_carries_many_queries_and_is_closed_when_idle() {
    let silent = upstream(|_, _| vec![]).await;
    let resolver = resolver(silent.address).await;
    resolver.publish(&["orders", "payments"]);
    let clock = FrozenClock::new();
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    let queries = ["slow.com.", "orders.", "payments."].map(|name| query(name, RecordType::A));
    let bytes: Vec<u8> = queries.iter().flat_map(|query| framed(&query.to_vec().unwrap())).collect();
    // Cut where it hurts: within a length, which is read by the time that a later query is answered.
    stream.write_all(&bytes[..1]).await.unwrap();
    ask(&resolver.client().await, &queries[1]).await;
    stream.write_all(&bytes[1..]).await.unwrap();
    for query in &queries[1..] {
        let answer = read_soon(&mut stream).await.unwrap();
        assert_eq!(answer[..2], query.metadata.id.to_be_bytes(), "the slow one holds nobody up");
    }
    silent.asked(1).await;
    clock.advance(IDLE).await;
    assert_eq!(read_soon(&mut stream).await, None, "the server has nothing to say");

    let mut idle = TcpStream::connect(resolver.address).await.unwrap();
    idle.write_all(&framed(&queries[1].to_vec().unwrap())).await.unwrap();
    read_soon(&mut idle).await.expect("an answer");
    idle.write_all(&[0]).await.unwrap();
    clock.advance(IDLE).await;
    assert_eq!(read_soon(&mut idle).await, None);
}

#[tokio::test]
async fn a_zone_transfer_comes_back_message_by_message_among_mesh_answers() {
    let upstream = upstream(|_, query| {
        let message = |n: u8| [&query[..2], &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0], &vec![n; 30_000][..]].concat();
        (0..20).map(message).collect()
    })
    .await;
    let resolver = resolver(upstream.address).await;
    resolver.publish(&["orders"]);
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    let transfer = query("example.com.", RecordType::AXFR).to_vec().unwrap();
    let mesh = query("orders.", RecordType::A).to_vec().unwrap();
    stream.write_all(&[framed(&transfer), framed(&mesh)].concat()).await.unwrap();
    let (mut parts, mut own) = (Vec::new(), 0);
    while parts.len() < 20 || own == 0 {
        let answer = timeout(LONG, read_frame(&mut stream)).await.unwrap().expect("closed");
        match answer.len() {
            30_012 => parts.push((answer[..2].to_vec(), answer[12])),
            _ => own += 1,
        }
    }
    let expected: Vec<_> = (0..20).map(|n| (transfer[..2].to_vec(), n)).collect();
    assert_eq!((parts, own), (expected, 1), "all of it, in order, under the client's id");
    assert_eq!(upstream.seen.borrow()[..], [(Transport::Tcp, transfer)], "as it was asked, id and all");
    // A client that has said all it wants still gets the end.
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(LONG, read_frame(&mut stream)).await.unwrap(), None);
}

#[tokio::test]
async fn one_clients_flood_is_its_own_trouble() {
    let silent = upstream(|_, _| vec![]).await;
    let resolver = resolver(silent.address).await;
    resolver.publish(&["orders"]);
    resolver.know(&["127.0.0.2", "127.0.0.3"]).await;
    let _standstill = FrozenClock::new();
    let foreign = query("slow.com.", RecordType::A).to_vec().unwrap();
    let (greedy, modest) = (resolver.client_at("127.0.0.2").await, resolver.client_at("127.0.0.3").await);
    modest.send(&foreign).await.unwrap();
    silent.asked(1).await;
    for sent in 1..=200 {
        greedy.send(&foreign).await.unwrap();
        silent.asked(1 + sent).await;
    }
    let lost = || resolver.metrics.get(AnswerKind::Overload, None);
    ask(&greedy, &query("orders.", RecordType::A)).await;
    assert_eq!(lost(), 200 - 64, "the oldest of its own gave way");
    assert_eq!(ask(&modest, &query("orders.", RecordType::A)).await.answers.len(), 1);
    // The modest one's query is still under way: its answer would come.
    assert_eq!(resolver.metrics.get(AnswerKind::Unanswered, None), 0);
}

#[tokio::test]
async fn forged_senders_get_a_trickle_and_the_lease_and_the_others_everything() {
    let upstream = upstream_saying(ResponseCode::NXDomain).await;
    let mut resolver = leasing(upstream.address).await;
    resolver.publish(&["orders"]);
    resolver.know(&["127.0.0.2"]).await;
    let clock = FrozenClock::new();
    let known = resolver.client_at("127.0.0.2").await;
    let mesh = query("orders.", RecordType::A);
    for n in 0..100_u8 {
        let forged = resolver.client_at(&format!("127.1.0.{}", n + 1)).await;
        for _ in 0..16 {
            forged.send(&mesh.to_vec().unwrap()).await.unwrap();
        }
        assert_eq!(ask(&known, &mesh).await.answers.len(), 1, "in the middle of it");
    }
    let foreign = ask(&known, &query("example.com.", RecordType::A)).await;
    assert_eq!(foreign.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(resolver.metrics.get(AnswerKind::Overload, None), 0, "they are kept for a while");
    let before = *resolver.renewals.borrow();
    clock.advance(RENEWED).await;
    timeout(LONG, resolver.renewals.wait_for(|count| *count > before)).await.expect("the lease is lost").unwrap();
    clock.advance(Duration::from_secs(1)).await;
    resolver.know(&["127.0.0.2", "127.0.0.3"]).await;
    let given_up = || resolver.metrics.get(AnswerKind::Overload, None) == 1600 - 256;
    clock.advance_until(Duration::ZERO, "given up", given_up).await;
}

#[tokio::test]
async fn what_a_container_asks_in_a_flood_before_docker_tells_of_it_is_answered_then() {
    let resolver = resolver(NOBODY).await;
    resolver.publish(&["orders"]);
    resolver.know(&["127.0.0.2"]).await;
    let _standstill = FrozenClock::new();
    let mesh = query("orders.", RecordType::A);
    let forged = resolver.client_at("127.1.0.1").await;
    for _ in 0..300 {
        forged.send(&mesh.to_vec().unwrap()).await.unwrap();
    }
    let young = resolver.client_at("127.0.0.3").await;
    young.send(&mesh.to_vec().unwrap()).await.unwrap();
    // Read after all of the above.
    let known = resolver.client_at("127.0.0.2").await;
    assert_eq!(ask(&known, &mesh).await.answers.len(), 1);
    assert!(young.try_recv(&mut [0; 512]).is_err(), "nobody knows it");
    resolver.know(&["127.0.0.2", "127.0.0.3"]).await;
    let mut answer = vec![0; 512];
    let length = timeout(LONG, young.recv(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(Message::from_vec(&answer[..length]).unwrap().answers.len(), 1);
}

#[tokio::test]
async fn idle_connections_of_some_cost_others_nothing() {
    let resolver = resolver(NOBODY).await;
    resolver.publish(&["orders"]);
    resolver.know(&["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"]).await;
    let query = framed(&query("orders.", RecordType::A).to_vec().unwrap());
    let connect = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let mut stream = socket.connect(resolver.address).await.unwrap();
        stream.write_all(&query).await.ok();
        let answered = read_soon(&mut stream).await.is_some();
        (answered, stream)
    };
    let _standstill = FrozenClock::new();
    let mut open = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"] {
        for _ in 0..32 {
            open.push(connect(from).await);
        }
    }
    assert!(open.iter().all(|(answered, _)| *answered));
    open.push(connect("127.0.0.6").await);
    assert!(open.last().unwrap().0, "all 128 are taken, and whoever has most makes room");
    assert!(SelfQuery::new(resolver.address, None).works().await.is_ok(), "the lease has room, too");
    open.push(connect("127.0.0.2").await);
    assert!(open.last().unwrap().0, "at the cost of its own");
    let mut strangers = Vec::new();
    for n in 1..=9 {
        strangers.push(connect(&format!("127.1.0.{n}")).await);
    }
    // But for the place that the lease's connection has left.
    assert!(strangers.iter().filter(|(answered, _)| *answered).count() <= 1, "all is taken");
}

/// Lets time pass in which leases would be renewed. By the time that a client is answered, an earlier query of our own
/// has been, too.
async fn pass(clock: &FrozenClock, client: &UdpSocket) {
    for _ in 0..10 {
        clock.advance(RENEWED).await;
        ask(client, &query("orders.", RecordType::A)).await;
    }
}

#[tokio::test]
async fn leased_only_once_names_are_known() {
    let upstream = upstream_saying(ResponseCode::NXDomain).await;
    let mut resolver = leasing(upstream.address).await;
    let clock = FrozenClock::new();
    pass(&clock, &resolver.client().await).await;
    assert_eq!(*resolver.renewals.borrow(), 0);
    resolver.publish(&[]);
    clock.advance_until(Duration::ZERO, "renewed at once", || *resolver.renewals.borrow() == 1).await;
    timeout(LONG, resolver.state.wait_for(ResolverState::is_answering)).await.unwrap().unwrap();
    clock.advance(RENEWED).await;
    timeout(LONG, resolver.renewals.wait_for(|count| *count == 2)).await.expect("not renewed again").unwrap();
    let mesh = resolver.metrics.get(AnswerKind::Mesh, Some(ResponseCode::NoError));
    assert_eq!(mesh, 0, "our own queries are not counted");
}

#[tokio::test]
async fn an_address_that_is_taken_or_missing_is_tried_again() {
    let taken = UdpSocket::bind("127.0.0.9:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let (state, mut seen) = watch::channel(ResolverState::Starting);
    let (renewals, _renewals) = watch::channel(0);
    let inputs = ResolverInputs {
        served: watch::channel(None).1,
        servers: watch::channel(CapturedServers::default()).1,
        containers: watch::channel(None).1,
        vantages: watch::channel(None).1,
    };
    let (config, metrics) = (ResolverConfig { listen, ..config() }, ResolverMetrics::default());
    tokio::spawn(run(config, inputs, Renewals(renewals), metrics, state, CancellationToken::new()));
    let failing = seen.wait_for(|state| *state != ResolverState::Starting).await.unwrap().clone();
    assert!(
        matches!(&failing, ResolverState::Failing { listen: at, error } if *at == listen && error.contains("in use"))
    );
    drop(taken);
    let up = seen.wait_for(|state| matches!(state, ResolverState::Listening { .. }));
    timeout(LONG, up).await.expect("not tried again").unwrap();
}
