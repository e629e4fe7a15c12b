use super::super::serve::Serve;
use super::*;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(port: u16, udp: bool) {
    let serve = Serve { name: "anna".to_owned(), port, udp, linger: 0, delay: 0, sick_while: None };
    thread::spawn(move || serve.run(&Stop::default()));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", port)).unwrap();
    let answers = || match udp {
        // An error is the word that nobody is there yet.
        true => client.send(b"?").and_then(|_| client.recv(&mut [0; 64])).is_ok(),
        false => TcpStream::connect(("127.0.0.1", port)).is_ok(),
    };
    while !answers() {
        thread::yield_now();
    }
}

fn dial(port: u16, udp: bool) -> Calls {
    let target = format!("127.0.0.1:{port}");
    let dial = Dial {
        target,
        count: Some(20),
        concurrency: 3,
        rate: None,
        udp,
        resolve_once: false,
        strict: false,
        timeout: 60_000,
    };
    dial.run(&Stop::default()).unwrap()
}

#[test]
fn counts_who_answered_and_as_whom_it_was_seen() {
    for udp in [false, true] {
        let port = free_port();
        serve(port, udp);
        let calls = dial(port, udp);
        assert_eq!((calls.ok, calls.failed), (20, 0), "{calls:?}");
        assert_eq!(calls.answers, [("anna".to_owned(), 20)].into());
        assert_eq!(calls.seen_as, [("127.0.0.1".to_owned(), 20)].into());
        assert!(calls.connect_us.max > 0);
    }
}

#[test]
fn tells_a_refusal() {
    let calls = dial(free_port(), false);
    assert_eq!((calls.ok, calls.failed), (0, 20));
    assert_eq!(calls.failures, [("refused".to_owned(), 20)].into());
    assert_eq!(calls.timeline.iter().map(|second| second.1).sum::<u64>(), 20);
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let mut hundred: Vec<u64> = (1..=100).rev().collect();
    let percentiles = Percentiles::of(&mut hundred);
    assert_eq!((percentiles.p50, percentiles.p90, percentiles.p99, percentiles.max), (50, 90, 99, 100));
    assert_eq!(Percentiles::of(&mut [7]).p50, 7);
    assert_eq!(Percentiles::of(&mut []).max, 0);
}
