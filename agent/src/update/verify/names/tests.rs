use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::super::tests::{NOBODY, resolver, served, told};
use super::*;
use crate::model::{DualStack, Names};

fn mesh() -> Desired {
    served(&[("prod/orders", "198.19.0.7:80".parse().unwrap())])
}

fn known(desired: &Desired) -> watch::Receiver<Option<Arc<Desired>>> {
    watch::channel(Some(Arc::new(desired.clone()))).1
}

#[tokio::test]
async fn a_name_is_asked_for_and_must_mean_its_vip() {
    let mesh = mesh();
    let (resolver, names) = resolver(Some(mesh.names.clone()), NOBODY.parse().unwrap()).await;
    assert_eq!(look(&resolver, &known(&mesh)).await.unwrap(), "the resolver works; orders.prod is 198.19.0.7");

    let elsewhere = mesh.names.keys().map(|name| (name.clone(), DualStack::V4([198, 19, 0, 9].into())));
    names.send_replace(Some(told(elsewhere.collect())));
    let found = look(&resolver, &known(&mesh)).await.unwrap_err();
    assert_eq!(found, "the resolver works, but orders.prod is 198.19.0.9, not 198.19.0.7");

    let nobody = look(&resolver, &known(&Desired::default())).await.unwrap();
    assert_eq!(nobody, "the resolver works; no service has a name");
}

#[tokio::test]
async fn any_name_that_a_stranger_may_claim_can_be_asked_for() {
    for service in ["prod/xn--0", "prod/a--b--", "prod/_", "prod/0"] {
        let mesh = served(&[(service, "198.19.0.7:80".parse().unwrap())]);
        let (resolver, _names) = resolver(Some(mesh.names.clone()), NOBODY.parse().unwrap()).await;
        let found = look(&resolver, &known(&mesh)).await;
        assert!(found.as_ref().is_ok_and(|found| found.ends_with("is 198.19.0.7")), "{service}: {found:?}");
    }
}

#[tokio::test]
async fn a_resolver_that_knows_nothing_yet_is_unwell() {
    let (resolver, _names) = resolver(None, NOBODY.parse().unwrap()).await;
    let found = look(&resolver, &known(&mesh())).await.unwrap_err();
    assert!(found.contains("the resolver does not answer: response code"), "{found}");
}

#[tokio::test]
async fn a_name_may_come_a_moment_later() {
    let mesh = mesh();
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (resolver, names) = resolver(Some(Names::new()), upstream.local_addr().unwrap()).await;
    let (desired, known) = watch::channel(Some(Arc::new(mesh.clone())));
    let look = tokio::spawn(async move { look(&resolver, &known).await });
    // The first time the name is unknown, so that the upstream server is asked, and refuses.
    let mut query = [0; 512];
    let (length, asker) = upstream.recv_from(&mut query).await.unwrap();
    names.send_replace(Some(told(mesh.names.clone())));
    query[2] |= 0x80;
    query[3] = 5;
    upstream.send_to(&query[..length], asker).await.unwrap();
    assert_eq!(look.await.unwrap().unwrap(), "the resolver works; orders.prod is 198.19.0.7");
    drop(desired);
}

#[tokio::test]
async fn nobody_there_and_silence_are_told_apart() {
    let found = look(&SelfQuery::new(NOBODY.parse().unwrap(), None), &known(&mesh())).await.unwrap_err();
    assert!(found.contains("the resolver does not answer: Connection refused"), "{found}");

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent: SocketAddr = socket.local_addr().unwrap();
    tokio::time::pause();
    let found = look(&SelfQuery::new(silent, None), &known(&mesh())).await.unwrap_err();
    assert_eq!(found, "the resolver does not answer: timed out");
}

#[test]
fn a_name_that_nobody_serves_is_not_asked_for() {
    let mut mesh = mesh();
    mesh.names.insert("aaa.prod".parse().unwrap(), DualStack::V4([198, 19, 0, 6].into()));
    mesh.names.insert("zzz.prod".parse().unwrap(), DualStack::V4([198, 19, 0, 8].into()));
    assert_eq!(name_to_ask(&mesh).unwrap().0.as_str(), "orders.prod");
    assert!(name_to_ask(&Desired::default()).is_none());
}

#[test]
fn a_service_that_took_the_resolvers_own_name_proves_nothing() {
    let mesh = served(&[("meshdog/_lease", "198.19.0.7:80".parse().unwrap())]);
    assert!(mesh.names.contains_key(&LEASE_NAME.parse::<AliasName>().unwrap()));
    assert!(name_to_ask(&mesh).is_none());
}
