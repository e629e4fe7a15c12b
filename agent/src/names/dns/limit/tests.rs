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
