//! The whole resolver on loopback sockets, with upstream servers of the tests' own. What promises haste is tried with
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
use tokio::time::{Instant, timeout};

use super::metrics::AnswerKind;
use super::transport::Transport;
use super::*;
use crate::config::Auto;
use crate::frozen_clock::FrozenClock;
use crate::model::{DualStack, VipRanges};

/// For what must come; no promise.
const LONG: Duration = Duration::from_secs(60);
/// How long one upstream server may take.
const EACH: Duration = Duration::from_secs(2);
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(5);
/// More than lies between two renewals of the lease.
const RENEWED: Duration = Duration::from_secs(2);

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
    names: watch::Sender<Option<Names>>,
    metrics: ResolverMetrics,
    state: watch::Receiver<ResolverState>,
    renewals: watch::Receiver<u32>,
}

struct Renewals(watch::Sender<u32>);

impl Lease for Renewals {
    type Error = Infallible;

    async fn renew(&mut self) -> Result<(), Infallible> {
        self.0.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    ResolverConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstream: Auto::Set(servers.to_vec()),
        vips: VipRanges::default(),
        mark: None,
    }
}

async fn resolver(config: ResolverConfig) -> Resolver {
    let (names, seen_names) = watch::channel(None);
    let (state, mut seen_state) = watch::channel(ResolverState::Starting);
    let (renewals, seen_renewals) = watch::channel(0);
    let metrics = ResolverMetrics::default();
    tokio::spawn(run(
        config,
        seen_names,
        Renewals(renewals),
        metrics.clone(),
        state,
        watch::channel(NameServers::default()).1,
        CancellationToken::new(),
    ));
    let up = seen_state.wait_for(|state| matches!(state, ResolverState::Listening { .. })).await.unwrap().clone();
    let ResolverState::Listening { address, .. } = up else { panic!("{up:?}") };
    Resolver { address, names, metrics, state: seen_state, renewals: seen_renewals }
}

impl Resolver {
    fn publish(&self, names: &[&str]) {
        let vip = DualStack::V4([198, 19, 0, 7].into());
        self.names.send_replace(Some(names.iter().map(|name| (name.parse().unwrap(), vip)).collect()));
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
    let resolver = resolver(config(&[upstream.address])).await;
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
    let resolver = resolver(config(&[upstream.address])).await;
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
async fn an_answer_too_large_for_a_datagram_sends_the_client_to_tcp() {
    let upstream = upstream(|_, query| {
        vec![response(query, |message| {
            let record = |n| Record::from_rdata(message.queries[0].name.clone(), 1, RData::A(A::new(10, 0, n, n)));
            message.answers.extend((0..=255).cycle().take(1000).map(record));
        })]
    })
    .await;
    let resolver = resolver(config(&[upstream.address])).await;
    let query = query("example.com.", RecordType::A);
    let cut = ask_raw(&resolver.client().await, &query.to_vec().unwrap()).await;
    assert!(cut.len() <= 512);
    let cut = Message::from_vec(&cut).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&framed(&query.to_vec().unwrap())).await.unwrap();
    let whole = Message::from_vec(&read_frame(&mut stream).await.unwrap()).unwrap();
    assert_eq!(whole.answers.len(), 1000);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_down_or_refuses() {
    let down = "127.0.0.1:1".parse().unwrap();
    let refusing = upstream_saying(ResponseCode::ServFail).await;
    let good = upstream_saying(ResponseCode::NXDomain).await;
    let code = async |servers: &[SocketAddr]| {
        let resolver = resolver(config(servers)).await;
        ask(&resolver.client().await, &query("example.com.", RecordType::A)).await.metadata.response_code
    };
    let _standstill = FrozenClock::new();
    assert_eq!(code(&[down, good.address]).await, ResponseCode::NXDomain);
    assert_eq!(code(&[refusing.address, good.address]).await, ResponseCode::NXDomain);
    assert_eq!(code(&[refusing.address, down]).await, ResponseCode::ServFail);
    assert_eq!(code(&[down]).await, ResponseCode::ServFail);
    assert_eq!(code(&[]).await, ResponseCode::ServFail);
}

#[tokio::test]
async fn silent_servers_are_given_up_in_time() {
    let silent = upstream(|_, _| vec![]).await;
    let good = upstream_saying(ResponseCode::NoError).await;
    let query = query("example.com.", RecordType::A);
    let (second, none) = (config(&[silent.address, good.address]), config(&[silent.address]));
    let (second, none) = (resolver(second).await, resolver(none).await);
    let clock = FrozenClock::new();

    let client = second.client().await;
    let given_up_once = async {
        silent.asked(1).await;
        clock.advance(EACH).await;
    };
    let (answer, ()) = tokio::join!(ask(&client, &query), given_up_once);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);

    // A datagram may get lost, so each server is asked twice.
    let begin = Instant::now();
    let client = none.client().await;
    let given_up_twice = async |before: usize| {
        silent.asked(before + 1).await;
        clock.advance(EACH).await;
        silent.asked(before + 2).await;
        clock.advance(EACH).await;
    };
    let (answer, ()) = tokio::join!(ask(&client, &query), given_up_twice(1));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(none.metrics.get(AnswerKind::Unanswered, ResponseCode::ServFail), 1);
    assert!(begin.elapsed() < Duration::from_millis(4900), "conntrack keeps the flow for 5 s");

    let begin = Instant::now();
    let mut stream = TcpStream::connect(none.address).await.unwrap();
    stream.write_all(&framed(&query.to_vec().unwrap())).await.unwrap();
    let (answer, ()) = tokio::join!(read_frame(&mut stream), given_up_twice(3));
    assert_eq!(Message::from_vec(&answer.unwrap()).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert!(begin.elapsed() < Duration::from_millis(4900), "clients wait no longer than for UDP");
}

#[tokio::test]
async fn spoofed_answers_are_ignored() {
    let upstream = upstream(|_, query| {
        let evil = |message: &mut Message| {
            let name = message.queries[0].name.clone();
            message.answers.push(Record::from_rdata(name, 9, RData::A(A::new(6, 6, 6, 6))));
        };
        let other_id = response(query, |message| {
            evil(message);
            message.metadata.id ^= 1;
        });
        let other_name = response(query, |message| {
            evil(message);
            message.queries[0].name = Name::from_ascii("evil.com.").unwrap();
        });
        let other_type = response(query, |message| {
            evil(message);
            message.queries[0].query_type = RecordType::AAAA;
        });
        let right = response(query, |message| message.metadata.response_code = ResponseCode::NXDomain);
        vec![vec![], b"garbage".to_vec(), query.to_vec(), other_id, other_name, other_type, right]
    })
    .await;
    let resolver = resolver(config(&[upstream.address])).await;
    let asked = query("bank.com.", RecordType::A);
    let answer = ask(&resolver.client().await, &asked).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0));
    let mut stream = TcpStream::connect(resolver.address).await.unwrap();
    stream.write_all(&framed(&asked.to_vec().unwrap())).await.unwrap();
    let answer = Message::from_vec(&read_frame(&mut stream).await.unwrap()).unwrap();
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0));
    let seen = upstream.seen.borrow();
    assert!(seen.iter().any(|(_, query)| query[..2] != asked.metadata.id.to_be_bytes()), "ids are our own");
}

#[tokio::test]
async fn garbage_is_survived_and_responses_are_never_answered() {
    let resolver = resolver(config(&[])).await;
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
    let resolver = resolver(config(&[silent.address])).await;
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
    // A client that has said all it wants still gets its answer.
    stream.shutdown().await.unwrap();
    for attempt in 1..=2 {
        silent.asked(attempt).await;
        clock.advance(EACH).await;
    }
    let last = Message::from_vec(&read_soon(&mut stream).await.unwrap()).unwrap();
    assert_eq!((last.metadata.id, last.metadata.response_code), (queries[0].metadata.id, ResponseCode::ServFail));
    assert_eq!(read_soon(&mut stream).await, None);

    let mut idle = TcpStream::connect(resolver.address).await.unwrap();
    idle.write_all(&framed(&queries[1].to_vec().unwrap())).await.unwrap();
    read_soon(&mut idle).await.expect("an answer");
    idle.write_all(&[0]).await.unwrap();
    clock.advance(IDLE).await;
    assert_eq!(read_soon(&mut idle).await, None);
}

#[tokio::test]
async fn overload_is_refused_at_once_and_hurts_one_client_only() {
    let silent = upstream(|_, _| vec![]).await;
    let resolver = resolver(config(&[silent.address])).await;
    resolver.publish(&["orders"]);
    let _standstill = FrozenClock::new();
    let client = resolver.client().await;
    for sent in 1..=128 {
        client.send(&query("slow.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
        silent.asked(sent).await;
    }
    let foreign = query("example.com.", RecordType::A);
    assert_eq!(ask(&client, &foreign).await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(ask(&client, &query("orders.", RecordType::A)).await.answers.len(), 1, "mesh names need no room");
    assert_eq!(resolver.metrics.get(AnswerKind::Overload, ResponseCode::ServFail), 1);

    let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    other.connect(resolver.address).await.unwrap();
    other.send(&foreign.to_vec().unwrap()).await.unwrap();
    silent.asked(129).await;
    assert_eq!(resolver.metrics.get(AnswerKind::Overload, ResponseCode::ServFail), 1, "another client has room");
}

#[tokio::test]
async fn connections_are_limited_for_each_client() {
    let resolver = resolver(config(&[])).await;
    resolver.publish(&["orders"]);
    let query = framed(&query("orders.", RecordType::A).to_vec().unwrap());
    let connect = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let mut stream = socket.connect(resolver.address).await.unwrap();
        stream.write_all(&query).await.ok();
        let answered = read_soon(&mut stream).await.is_some();
        (answered, stream)
    };
    let _standstill = FrozenClock::new();
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(connect("127.0.0.3:0").await);
    }
    assert!(open.iter().all(|(answered, _)| *answered));
    assert!(!connect("127.0.0.3:0").await.0);
    assert!(connect("127.0.0.4:0").await.0);
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
    let mut resolver = resolver(config(&[upstream.address])).await;
    let clock = FrozenClock::new();
    pass(&clock, &resolver.client().await).await;
    assert_eq!(*resolver.renewals.borrow(), 0);
    resolver.publish(&[]);
    clock.advance_until(Duration::ZERO, "renewed at once", || *resolver.renewals.borrow() == 1).await;
    let leased = |state: &ResolverState| matches!(state, ResolverState::Listening { leased: true, .. });
    timeout(LONG, resolver.state.wait_for(leased)).await.unwrap().unwrap();
    clock.advance(RENEWED).await;
    timeout(LONG, resolver.renewals.wait_for(|count| *count == 2)).await.expect("not renewed again").unwrap();
    let mesh = resolver.metrics.get(AnswerKind::Mesh, ResponseCode::NoError);
    assert_eq!(mesh, 0, "our own queries are not counted");
}

#[tokio::test]
async fn nothing_is_captured_that_could_not_be_forwarded() {
    let resolver = resolver(config(&[])).await;
    resolver.publish(&["orders"]);
    let clock = FrozenClock::new();
    pass(&clock, &resolver.client().await).await;
    assert_eq!(*resolver.renewals.borrow(), 0);
    assert!(matches!(*resolver.state.borrow(), ResolverState::Listening { leased: false, .. }));
}

#[tokio::test]
async fn an_address_that_is_taken_or_missing_is_tried_again() {
    let taken = UdpSocket::bind("127.0.0.9:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let (_names, names) = watch::channel(None);
    let (state, mut seen) = watch::channel(ResolverState::Starting);
    let (renewals, _renewals) = watch::channel(0);
    tokio::spawn(run(
        ResolverConfig { listen, ..config(&[]) },
        names,
        Renewals(renewals),
        ResolverMetrics::default(),
        state,
        watch::channel(NameServers::default()).1,
        CancellationToken::new(),
    ));
    let failing = seen.wait_for(|state| *state != ResolverState::Starting).await.unwrap().clone();
    assert!(
        matches!(&failing, ResolverState::Failing { listen: at, error } if *at == listen && error.contains("in use"))
    );
    drop(taken);
    let up = seen.wait_for(|state| matches!(state, ResolverState::Listening { .. }));
    timeout(LONG, up).await.expect("not tried again").unwrap();
}
