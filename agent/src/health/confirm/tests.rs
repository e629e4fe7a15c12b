use std::num::NonZeroU16;

use super::*;
use crate::frozen_clock::FrozenClock;
use crate::model::{Frontend, L4};

fn target(address: SocketAddr) -> Target {
    Target::new(L4::Tcp, address)
}

fn flow(endpoint: SocketAddr) -> Flow {
    let frontend = Frontend { vip: [198, 19, 0, 7].into(), l4: L4::Tcp, port: NonZeroU16::new(80).unwrap() };
    Flow { client: "172.17.0.9:40000".parse().unwrap(), frontend, endpoint }
}

/// An address that is taken and refuses, for as long as the socket does not listen.
fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn two_refusals_are_proof_and_an_answer_is_an_acquittal() {
    let mut confirm = Confirm::default();
    let (socket, address) = refusing();
    confirm.ask(target(address), Some(flow(address)), Instant::now());
    let proof = confirm.next().await;
    assert_eq!((proof.answer, proof.flow), (Err(ConnectFailure::Refused), Some(flow(address))));
    let _listener = socket.listen(8).unwrap();
    confirm.ask(target(address), None, Instant::now() + EVERY);
    assert_eq!(confirm.next().await.answer, Ok(()));
}

#[tokio::test]
async fn an_endpoint_is_asked_no_more_often_than_is_good_and_all_no_more_at_once() {
    let _standstill = FrozenClock::new();
    let mut confirm = Confirm::default();
    let (_socket, address) = refusing();
    let now = Instant::now();
    for _ in 0..25 {
        confirm.ask(target(address), None, now);
    }
    assert_eq!(confirm.running.len(), 1);
    confirm.ask(target(address), None, now + EVERY);
    assert_eq!(confirm.running.len(), 2);
    for port in 1..500 {
        confirm.ask(target(SocketAddr::new(address.ip(), port)), None, now);
    }
    assert_eq!(confirm.running.len(), AT_ONCE);
    confirm.forget_old(now + 2 * EVERY);
    assert!(confirm.asked.is_empty());
}

#[tokio::test]
async fn proof_against_an_address_that_was_forgotten_is_proof_against_nobody() {
    let mut confirm = Confirm::default();
    let (_socket, address) = refusing();
    let (_other_socket, other) = refusing();
    confirm.ask(target(address), None, Instant::now());
    confirm.forget(&target(address));
    confirm.ask(target(other), None, Instant::now());
    assert_eq!(confirm.next().await.target, target(other));
    assert!(tokio::time::timeout(Duration::from_millis(1), confirm.next()).await.is_err());
}
