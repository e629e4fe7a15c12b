use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 2));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 3));

#[test]
fn one_client_cannot_take_all() {
    let bound = Bound::new(3, 2);
    let first = bound.enter(A).unwrap();
    let _second = bound.enter(A).unwrap();
    assert!(bound.enter(A).is_none());
    let _other = bound.enter(B).unwrap();
    assert!(bound.enter(B).is_none(), "three are under way");
    drop(first);
    assert!(bound.enter(B).is_some());
}

#[test]
fn nothing_is_kept_of_clients_that_left() {
    let bound = Bound::new(10, 2);
    let passes: Vec<_> = [A, A, B].into_iter().map(|client| bound.enter(client).unwrap()).collect();
    drop(passes);
    let held = bound.held();
    assert_eq!((held.all, held.by.len()), (0, 0));
}
