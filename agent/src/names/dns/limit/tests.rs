use super::*;
use std::net::IpAddr;

const SHARES: Shares = Shares { total: 6, each: 4, unknown: 2 };

fn known(n: u8) -> Client {
    Client::Known(IpAddr::from([172, 17, 0, n]))
}

fn lost(permits: &[Permit]) -> Vec<usize> {
    permits.iter().enumerate().filter(|(_, permit)| permit.evicted.is_cancelled()).map(|(n, _)| n).collect()
}

fn enter<const N: usize>(limit: &ClientLimit, client: Client) -> [Permit; N] {
    std::array::from_fn(|_| limit.enter(client).unwrap())
}

#[test]
fn who_wants_more_than_a_share_loses_the_oldest_and_nobody_else_does() {
    let limit = ClientLimit::new(SHARES);
    let other = enter::<1>(&limit, known(3));
    let greedy = enter::<6>(&limit, known(2));
    assert_eq!(lost(&greedy), [0, 1]);
    assert_eq!((lost(&other), limit.under_way()), (vec![], 5));
}

#[test]
fn where_all_is_taken_whoever_has_most_makes_room() {
    let limit = ClientLimit::new(SHARES);
    let greedy = enter::<4>(&limit, known(2));
    let modest = enter::<2>(&limit, known(3));
    let [_new] = enter::<1>(&limit, known(4));
    assert_eq!((lost(&greedy), lost(&modest)), (vec![0], vec![]));
    let _more = enter::<2>(&limit, known(5));
    // Each has two or one by now; the next of one who has two is at his own cost.
    let _again = enter::<1>(&limit, known(3));
    assert!(lost(&modest) == [0] && limit.under_way() == 6, "{:?} {:?}", lost(&greedy), lost(&modest));
}

#[test]
fn strangers_share_one_allowance_and_cost_nobody_anything() {
    let limit = ClientLimit::new(SHARES);
    let _two = enter::<2>(&limit, Client::Unknown);
    assert!(limit.enter(Client::Unknown).is_none());
    let own = enter::<4>(&limit, known(2));
    assert!(lost(&own).is_empty());
    let limit = ClientLimit::new(SHARES);
    let _all = [enter::<3>(&limit, known(2)), enter::<3>(&limit, known(3))];
    assert!(limit.enter(Client::Unknown).is_none(), "all is taken");
}

#[test]
fn nothing_is_kept_of_clients_that_left() {
    let limit = ClientLimit::new(SHARES);
    let permits = [enter::<3>(&limit, known(2)), enter::<3>(&limit, known(3))];
    let evicting = enter::<1>(&limit, known(4));
    drop((permits, evicting));
    let held = limit.held();
    assert_eq!((held.all, held.by.len()), (0, 0));
}

#[tokio::test]
async fn who_waits_for_idleness_waits_for_the_last_permit() {
    let limit = ClientLimit::new(SHARES);
    limit.idle().await;
    let [first, last] = enter(&limit, known(2));
    let waiting = tokio::spawn({
        let limit = limit.clone();
        async move { limit.idle().await }
    });
    tokio::task::yield_now().await;
    drop(first);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(last);
    waiting.await.unwrap();
}

#[test]
fn strangers_are_read_by_and_by() {
    let (trickle, begin) = (Trickle::new(), Instant::now());
    let admitted = |after: Duration| (0..1000).filter(|_| trickle.admits(begin + after)).count();
    assert_eq!(admitted(Duration::ZERO), 256);
    assert_eq!(admitted(Duration::from_millis(500)), 32);
    assert_eq!(admitted(Duration::from_secs(3600)), 256);
}
