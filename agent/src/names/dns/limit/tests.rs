use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 2));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 3));

#[test]
fn one_client_cannot_take_all() {
    let limit = ClientLimit::new(3, 2);
    let first = limit.enter(A).unwrap();
    let _second = limit.enter(A).unwrap();
    assert!(limit.enter(A).is_none());
    let _other = limit.enter(B).unwrap();
    assert!(limit.enter(B).is_none(), "three are under way");
    drop(first);
    assert!(limit.enter(B).is_some());
}

#[test]
fn nothing_is_kept_of_clients_that_left() {
    let limit = ClientLimit::new(10, 2);
    let passes: Vec<_> = [A, A, B].into_iter().map(|client| limit.enter(client).unwrap()).collect();
    drop(passes);
    let held = limit.held();
    assert_eq!((held.all, held.by.len()), (0, 0));
}

#[tokio::test]
async fn who_waits_for_idleness_waits_for_the_last_permit() {
    let limit = ClientLimit::new(8, 8);
    limit.idle().await;
    let client = "127.0.0.1".parse().unwrap();
    let permits = [limit.enter(client).unwrap(), limit.enter(client).unwrap()];
    let waiting = tokio::spawn({
        let limit = limit.clone();
        async move { limit.idle().await }
    });
    tokio::task::yield_now().await;
    let [first, last] = permits;
    drop(first);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(last);
    waiting.await.unwrap();
}
