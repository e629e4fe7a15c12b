use super::*;

fn from(host: u8) -> SocketAddr {
    SocketAddr::from(([172, 17, 0, host], 4000))
}

#[test]
fn who_is_told_of_is_taken_out_in_order_and_nobody_else() {
    let (mut strangers, now) = (Strangers::default(), Instant::now());
    for (host, query) in [(2, "a"), (3, "b"), (2, "c")] {
        assert_eq!(strangers.keep(from(host), query.as_bytes(), now), 0);
    }
    let (told, given_up) = strangers.told_of(|address| address == from(2).ip(), now);
    let queries: Vec<_> = told.iter().map(|(address, query)| (*address, &query[..])).collect();
    assert_eq!((queries, given_up), (vec![(from(2), &b"a"[..]), (from(2), b"c")], 0));
    assert_eq!(strangers.told_of(|_| true, now).0.len(), 1);
}

#[test]
fn what_is_kept_is_bounded_in_number_size_and_time() {
    let now = Instant::now();
    let given_up = |strangers: &mut Strangers, count: usize, length: usize| -> usize {
        (0..count).map(|_| strangers.keep(from(2), &vec![0; length], now)).sum()
    };
    let mut strangers = Strangers::default();
    assert_eq!(given_up(&mut strangers, 1, LONGEST + 1), 1);
    assert_eq!(given_up(&mut strangers, MOST + 5, 30), 5);
    assert_eq!(strangers.keep(from(3), b"late", now + KEPT), MOST);
    assert_eq!(strangers.told_of(|_| true, now + KEPT).0.len(), 1);
    assert_eq!(given_up(&mut strangers, MOST_BYTES / LONGEST + 5, LONGEST), 5);
    assert_eq!(strangers.bytes, MOST_BYTES);
}
