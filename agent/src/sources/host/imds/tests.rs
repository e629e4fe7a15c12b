use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;

use super::*;
use crate::frozen_clock::FrozenClock;

const BOTH: WantedFacts = WantedFacts { address: true, zone: true };

type Answers = Arc<Mutex<(StatusCode, String, String)>>;

/// A metadata service on loopback that wants its token, and what it was asked.
async fn service() -> (Imds, Answers, Arc<Mutex<Vec<String>>>) {
    let answers = Arc::new(Mutex::new((StatusCode::OK, "10.0.12.34".to_owned(), "us-west-2a".to_owned())));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (say, log) = (Arc::clone(&answers), Arc::clone(&asked));
    let router = Router::new().fallback(move |request: Request| async move {
        let (status, address, zone) = say.lock().unwrap().clone();
        let header = |headers: &HeaderMap, name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        log.lock().unwrap().push(path.clone());
        if method == Method::PUT && path == "/latest/api/token" {
            let ttl = header(request.headers(), "x-aws-ec2-metadata-token-ttl-seconds");
            return if ttl.is_some() { (status, "token".to_owned()) } else { (StatusCode::BAD_REQUEST, String::new()) };
        }
        if header(request.headers(), "x-aws-ec2-metadata-token").as_deref() != Some("token") {
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        match path.as_str() {
            "/latest/meta-data/local-ipv4" => (StatusCode::OK, address),
            "/latest/meta-data/placement/availability-zone" => (StatusCode::OK, zone),
            "/latest/meta-data/mac" => (StatusCode::OK, "0e:aa:bb:cc:dd:ee".to_owned()),
            "/latest/meta-data/network/interfaces/macs/0e:aa:bb:cc:dd:ee/vpc-ipv4-cidr-blocks" => {
                (StatusCode::OK, "10.0.0.0/16\n198.19.0.0/20".to_owned())
            }
            _ => (StatusCode::NOT_FOUND, String::new()),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (Imds::new(base).unwrap(), answers, asked)
}

#[tokio::test]
async fn learns_once() {
    let _standstill = FrozenClock::new();
    let (mut imds, _, asked) = service().await;
    for _ in 0..3 {
        imds.ask(BOTH).await.unwrap();
        let known = InstanceFacts { address: Some([10, 0, 12, 34].into()), zone: Some("us-west-2a".into()) };
        assert_eq!(imds.facts(), &known);
    }
    assert_eq!(asked.lock().unwrap().len(), 3, "token, address, zone");
}

#[tokio::test]
async fn the_blocks_of_the_vpc() {
    let _standstill = FrozenClock::new();
    let (imds, ..) = service().await;
    let blocks: Vec<String> = imds.vpc_blocks().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(blocks, ["10.0.0.0/16", "198.19.0.0/20"]);
}

#[tokio::test]
async fn asks_only_for_what_is_wanted() {
    let _standstill = FrozenClock::new();
    let (mut imds, _, asked) = service().await;
    imds.ask(WantedFacts { address: false, zone: false }).await.unwrap();
    assert!(asked.lock().unwrap().is_empty());
    imds.ask(WantedFacts { address: false, zone: true }).await.unwrap();
    assert_eq!(imds.facts(), &InstanceFacts { address: None, zone: Some("us-west-2a".into()) });
}

#[tokio::test]
async fn waits_after_a_failure_and_asks_again() {
    let clock = FrozenClock::new();
    let (mut imds, answers, asked) = service().await;
    answers.lock().unwrap().0 = StatusCode::FORBIDDEN;
    assert!(matches!(imds.ask(BOTH).await, Err(Error::Refused { status: StatusCode::FORBIDDEN, .. })));
    imds.ask(BOTH).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1, "not asked again at once");
    answers.lock().unwrap().0 = StatusCode::OK;
    clock.advance(RETRY.after(0)).await;
    imds.ask(BOTH).await.unwrap();
    assert!(imds.facts().address.is_some() && imds.facts().zone.is_some());
}

#[tokio::test]
async fn believes_no_nonsense() {
    let _standstill = FrozenClock::new();
    for (address, zone) in [("::1", "z"), ("0.0.0.0", "z"), ("<html>", "z"), ("10.0.0.1", "a b"), ("10.0.0.1", "")] {
        let (mut imds, answers, _) = service().await;
        *answers.lock().unwrap() = (StatusCode::OK, address.to_owned(), zone.to_owned());
        assert!(matches!(imds.ask(BOTH).await, Err(Error::Nonsense { .. })), "{address} {zone}");
    }
    let (mut imds, answers, _) = service().await;
    answers.lock().unwrap().2 = "z".repeat(LIMITS.body + 1);
    assert!(matches!(imds.ask(BOTH).await, Err(Error::Nonsense { .. })));
    assert!(imds.facts().address.is_some(), "what was learnt before stays");
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_costs_one_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut imds = Imds::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()).unwrap();
    let started = Instant::now();
    assert!(matches!(imds.ask(BOTH).await, Err(Error::NoAnswer { .. })));
    assert!(started.elapsed() < LIMITS.timeout * 2, "and no more than one");
}
