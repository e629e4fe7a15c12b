use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::frozen_clock::FrozenClock;

/// Answers every connection with these bytes; gives what was asked.
async fn server(answer: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, out) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let n = stream.read(&mut request).await.unwrap_or_default();
                let _ = asked.send(String::from_utf8_lossy(&request[..n]).into_owned());
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut request).await;
            });
        }
    });
    (address, out)
}

/// An address that is taken and refuses, for as long as the socket does not listen.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn tcp_is_an_accepted_connection() {
    let _standstill = FrozenClock::new();
    let (address, _asked) = server(b"").await;
    assert!(probe(&HealthCheck::Tcp, address).await.is_ok());
    let (_socket, refusing) = refusing();
    assert!(matches!(probe(&HealthCheck::Tcp, refusing).await, Err(ProbeFailure::Connect(_))));
}

#[tokio::test]
async fn http_judges_the_status_and_follows_nothing() {
    let _standstill = FrozenClock::new();
    for (answer, healthy) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], true),
        (b"HTTP/1.1 204 No Content\r\n\r\n", true),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", true),
        // A body without end is not waited for.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", true),
        (b"HTTP/1.0 200 OK\r\n\r\n", true),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false),
        (b"SSH-2.0-OpenSSH_9.2\r\n", false),
    ] {
        let (address, mut asked) = server(answer).await;
        let result = probe(&HealthCheck::Http("/healthz?deep=1".into()), address).await;
        assert_eq!(result.is_ok(), healthy, "{}: {result:?}", String::from_utf8_lossy(answer));
        let asked = asked.recv().await.unwrap();
        assert!(asked.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let _standstill = FrozenClock::new();
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    let (address, _asked) = server(head.leak().as_bytes()).await;
    assert!(matches!(probe(&HealthCheck::Http("/".into()), address).await, Err(ProbeFailure::Http(_))));
}

#[tokio::test]
async fn silence_is_a_failure() {
    let (address, mut asked) = server(b"").await;
    let probe = tokio::spawn(async move { probe(&HealthCheck::Http("/".into()), address).await });
    asked.recv().await.unwrap();
    tokio::time::pause();
    assert!(matches!(probe.await.unwrap(), Err(ProbeFailure::Timeout)));
}

#[tokio::test]
async fn grpc_asks_the_service() {
    let _standstill = FrozenClock::new();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Orders", tonic_health::ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));

    assert!(probe(&HealthCheck::Grpc("".into()), address).await.is_ok());
    let orders = HealthCheck::Grpc("shop.Orders".into());
    assert!(matches!(probe(&orders, address).await, Err(ProbeFailure::NotServing("NOT_SERVING"))));
    reporter.set_service_status("shop.Orders", tonic_health::ServingStatus::Serving).await;
    assert!(probe(&orders, address).await.is_ok());
    let unknown = probe(&HealthCheck::Grpc("nope".into()), address).await;
    assert!(matches!(unknown, Err(ProbeFailure::GrpcStatus(tonic::Code::NotFound))), "{unknown:?}");
    let (_socket, refusing) = refusing();
    assert!(matches!(probe(&HealthCheck::Grpc("".into()), refusing).await, Err(ProbeFailure::Grpc(_))));
}

#[tokio::test]
async fn a_task_reports_changes_only() {
    let (socket, address) = refusing();
    let (send, mut reports) = mpsc::channel(8);
    let service = crate::model::ServiceId { namespace: "prod".parse().unwrap(), name: "web".parse().unwrap() };
    let key = (service, crate::model::EndpointId::first());
    let turns = Turns::new(Arc::new(Semaphore::new(AT_ONCE)));
    let clock = FrozenClock::new();
    let probing =
        Probing { key, life: 7, address, check: HealthCheck::Tcp, state: ProbeState::NEW, turns, reports: send };
    let task = tokio::spawn(probing.run());
    let first = reports.recv().await.unwrap();
    assert_eq!((first.life, first.state), (7, EndpointState::Starting));
    assert!(first.reason.contains("tcp check yet: Connection refused"), "{}", first.reason);
    let _listener = socket.listen(8).unwrap();
    // Further failures said the same, so the next report is the success.
    let pauses = Duration::from_millis(100);
    clock.advance_until(pauses, "a success", || !reports.is_empty()).await;
    let second = reports.recv().await.unwrap();
    assert_eq!((second.state, &*second.reason), (EndpointState::Healthy, "answers its tcp check"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_first_probe_waits_for_nobody_elses_repetitions() {
    let all = Arc::new(Semaphore::new(AT_ONCE));
    // Of a hundred containers every probe hangs, first ones and repetitions, many more than may be made at once.
    for _ in 0..100 {
        let turns = Turns::new(Arc::clone(&all));
        for _ in 0..100 {
            tokio::spawn(hangs(turns.clone(), true));
        }
    }
    sleep(Duration::from_secs(60)).await;
    assert!(all.available_permits() >= KEPT_FOR_FIRST as usize, "{}", all.available_permits());
    assert!(all.available_permits() < AT_ONCE / 2, "they are at it: {}", all.available_permits());
    let new = Turns::new(Arc::clone(&all));
    let mut held = Vec::new();
    for _ in 0..FIRST_EACH {
        let mut first = Box::pin(new.first());
        let std::task::Poll::Ready(turn) = futures_util::poll!(&mut first) else { panic!("it waits") };
        held.push(turn.unwrap());
    }
    assert!(futures_util::poll!(Box::pin(new.first())).is_pending(), "no more than its share");
}

/// An endpoint whose probes all hang until their time is over; `first`: the next one is its first.
async fn hangs(turns: Turns, mut first: bool) {
    loop {
        let turn = if first { turns.first().await } else { turns.again().await };
        sleep(TIMEOUT).await;
        drop(turn);
        first = false;
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_containers_1500_hanging_probes_delay_nobody_elses_first() {
    let all = Arc::new(Semaphore::new(AT_ONCE));
    let deaf = Turns::new(Arc::clone(&all));
    for _ in 0..1500 {
        tokio::spawn(hangs(deaf.clone(), true));
    }
    for seconds in [0, 1, 46] {
        sleep(Duration::from_secs(seconds)).await;
        let begun = tokio::time::Instant::now();
        drop(Turns::new(Arc::clone(&all)).first().await.unwrap());
        assert_eq!(begun.elapsed(), Duration::ZERO, "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_endpoints_with_fifty_black_holes_keep_their_interval() {
    let all = Arc::new(Semaphore::new(AT_ONCE));
    let (late_ms, probes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for container in 0..100 {
        let turns = Turns::new(Arc::clone(&all));
        for n in 0..10 {
            let (turns, late_ms, probes) = (turns.clone(), Arc::clone(&late_ms), Arc::clone(&probes));
            // Of some containers half are black holes.
            if container < 10 && n < 5 {
                tokio::spawn(hangs(turns, false));
                continue;
            }
            tokio::spawn(async move {
                loop {
                    let due = tokio::time::Instant::now();
                    drop(turns.again().await);
                    late_ms.fetch_max(due.elapsed().as_millis() as u64, Relaxed);
                    probes.fetch_add(1, Relaxed);
                    sleep(Duration::from_secs(5)).await;
                }
            });
        }
    }
    sleep(Duration::from_secs(59)).await;
    assert_eq!((late_ms.load(Relaxed), probes.load(Relaxed)), (0, 950 * 12));
}

#[tokio::test]
async fn one_containers_silence_takes_nobody_elses_turn() {
    let all = Arc::new(Semaphore::new(AT_ONCE));
    let (deaf, other) = (Turns::new(Arc::clone(&all)), Turns::new(Arc::clone(&all)));
    let mut held = Vec::new();
    for _ in 0..AT_ONCE_EACH {
        held.push(deaf.again().await.unwrap());
    }
    // As many more as one likes wait for their share, and for nothing else.
    let mut waiting: Vec<_> = (0..1500).map(|_| Box::pin(deaf.again())).collect();
    for turn in &mut waiting {
        assert!(futures_util::poll!(turn).is_pending());
    }
    assert_eq!(all.available_permits(), AT_ONCE - AT_ONCE_EACH);
    // What one task may do at a time is done.
    tokio::task::yield_now().await;
    assert!(futures_util::poll!(Box::pin(other.first())).is_ready());
}
