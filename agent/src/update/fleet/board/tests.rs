use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-11-22T12:00:00Z";

fn board(outcomes: &[(&str, bool, &str)]) -> Board {
    let outcome = |&(node, good, time): &(&str, bool, &str)| {
        (node.into(), Outcome { version: Version::new(1, 51, 0), good, at: at(time) })
    };
    Board { outcomes: outcomes.iter().map(outcome).collect(), ..Board::default() }
}

#[test]
fn two_bad_ones_open_the_circuit_and_say_who() {
    let board = board(&[
        ("a", false, "2026-11-22T09:00:00Z"),
        ("b", false, "2026-11-22T11:00:00Z"),
        ("c", true, "2026-11-22T10:00:00Z"),
    ]);
    let why = board.breaker(at(NOW), 0.25).unwrap();
    assert_eq!(
        why,
        "2 of 3 updates in the last 24 h were taken back (b with 1.51.0, a with 1.51.0), more than the allowed share \
         of 0.25; find out why, then run `meshdog update resume`"
    );
}

#[test]
fn one_bad_one_alone_is_a_bad_node() {
    assert_eq!(board(&[("a", false, "2026-11-22T09:00:00Z")]).breaker(at(NOW), 0.0), None);
    assert_eq!(Board::default().breaker(at(NOW), 0.0), None);
}

#[test]
fn the_share_must_be_exceeded() {
    let time = "2026-11-22T09:00:00Z";
    let half = board(&[("a", false, time), ("b", false, time), ("c", true, time), ("d", true, time)]);
    assert_eq!(half.breaker(at(NOW), 0.5), None);
    assert!(half.breaker(at(NOW), 0.49).is_some());
    let all = board(&[("a", false, time), ("b", false, time), ("c", false, time)]);
    assert!(all.breaker(at(NOW), 0.99).is_some());
    assert_eq!(all.breaker(at(NOW), 1.0), None);
}

#[test]
fn only_the_last_day_counts() {
    let old = "2026-11-21T12:00:00Z";
    let young = "2026-11-21T12:00:01Z";
    assert_eq!(board(&[("a", false, old), ("b", false, young)]).breaker(at(NOW), 0.1), None);
    assert!(board(&[("a", false, young), ("b", false, young)]).breaker(at(NOW), 0.1).is_some());
    let outweighed = board(&[("a", false, young), ("b", false, young), ("c", true, old), ("d", true, old)]);
    assert!(outweighed.breaker(at(NOW), 0.9).is_some(), "old good ones do not count either");
}

#[test]
fn a_reset_forgives_what_was_before_it() {
    let mut board = board(&[("a", false, "2026-11-22T09:00:00Z"), ("b", false, "2026-11-22T10:00:00Z")]);
    board.since = Some(at("2026-11-22T09:00:00.000000001Z"));
    assert_eq!(board.breaker(at(NOW), 0.1), None);
    board.since = Some(at("2026-11-22T09:00:00Z"));
    assert!(board.breaker(at(NOW), 0.1).is_some());
}

#[test]
fn many_bad_ones_make_no_long_sentence() {
    let time = "2026-11-22T09:00:00Z";
    let nodes: Vec<String> = (0..5000).map(|n| format!("node-{n}")).collect();
    let outcomes: Vec<_> = nodes.iter().map(|node| (node.as_str(), false, time)).collect();
    let why = board(&outcomes).breaker(at(NOW), 0.5).unwrap();
    assert!(why.starts_with("5000 of 5000") && why.contains(", …") && why.len() < 300, "{why}");
}
