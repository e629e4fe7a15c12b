use std::net::SocketAddr;

use super::*;
use crate::model::L4;

fn target(n: u16) -> Target {
    Target::new(L4::Tcp, SocketAddr::new([10, 0, 0, 1].into(), n))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn client(n: u8) -> IpAddr {
    [172, 17, 0, n].into()
}

/// Fails an endpoint for two clients until it is ejected; for how long that is.
fn eject(tracker: &mut OutlierTracker, now: Instant) -> Duration {
    let fail = |n| tracker.observe(now, target(1), ConnectFailure::Refused, client(n as u8 % 2));
    let ejected = (0..FAILURES).map(fail).filter(|e| *e).count();
    assert_eq!(ejected, 1);
    tracker.ejected()[&target(1)].until - now
}

#[test]
fn five_failures_within_thirty_seconds_eject() {
    let start = Instant::now();
    let mut tracker = OutlierTracker::default();
    for n in 0..4 {
        assert!(!tracker.observe(start + seconds(n), target(1), ConnectFailure::Refused, client(n as u8)));
    }
    // The first two are too old by now.
    let late = start + seconds(31);
    assert!(!tracker.observe(late, target(1), ConnectFailure::Unanswered, client(1)));
    assert!(!tracker.observe(late, target(1), ConnectFailure::Unanswered, client(1)));
    assert!(tracker.observe(late, target(1), ConnectFailure::Unanswered, client(1)));
    let ejection = &tracker.ejected()[&target(1)];
    assert_eq!(ejection.until, late + FIRST_EJECTION);
    assert!(ejection.reason.contains("not answered"));
    // Another endpoint, and the same port over UDP, have nothing to do with it.
    assert!(!tracker.ejected().contains_key(&target(2)));
    assert!(!tracker.observe(late, Target::new(L4::Udp, target(1).address()), ConnectFailure::Refused, client(1)));
}

#[test]
fn one_client_alone_ejects_nobody_and_two_do() {
    let now = Instant::now();
    let mut tracker = OutlierTracker::default();
    for _ in 0..1000 {
        assert!(!tracker.observe(now, target(1), ConnectFailure::Unanswered, client(1)));
    }
    assert!(tracker.records[&target(1)].failures.len() < FAILURES);
    assert!(tracker.observe(now, target(1), ConnectFailure::Unanswered, client(2)));
    assert!(!tracker.ejected()[&target(1)].proven);
}

#[test]
fn proof_ejects_at_once_until_it_is_refuted() {
    let now = Instant::now();
    let mut tracker = OutlierTracker::default();
    assert!(!tracker.acquit(now, &target(1)));
    assert!(tracker.prove(now, target(1), ConnectFailure::Refused));
    assert!(!tracker.prove(now, target(1), ConnectFailure::Refused), "it is avoided already");
    let end = tracker.ejected()[&target(1)].until;
    assert_eq!(end, now + FIRST_EJECTION);
    // Who is asked and fails again and again does not come back in between.
    assert!(!tracker.prove(end, target(1), ConnectFailure::Refused));
    assert!(!tracker.expired(end) && tracker.due() == Some(end + RENEWED));
    assert_eq!(tracker.proven().collect::<Vec<_>>(), [target(1)]);
    assert!(tracker.acquit(now, &target(1)));
    assert!(tracker.ejected().is_empty());
    // What was only suspected is not refuted by one connect that went well, and is proven by one that did not.
    eject(&mut tracker, now);
    assert!(!tracker.acquit(now, &target(1)));
    assert!(tracker.prove(now, target(1), ConnectFailure::Unanswered));
    assert!(tracker.ejected()[&target(1)].proven);
}

#[test]
fn ejections_double_end_and_decay() {
    let mut now = Instant::now();
    let mut tracker = OutlierTracker::default();
    for length in [30, 60, 120, 240, 300, 300] {
        assert_eq!(eject(&mut tracker, now), seconds(length));
        assert_eq!(tracker.due(), Some(now + seconds(length)));
        // What comes in meanwhile neither lengthens nor counts.
        assert!(!tracker.observe(now + seconds(1), target(1), ConnectFailure::Refused, client(1)));
        assert!(!tracker.expired(now + seconds(length) - Duration::from_millis(1)));
        now += seconds(length);
        assert!(tracker.expired(now));
        assert!(tracker.ejected().is_empty());
        assert_eq!(tracker.due(), None);
    }
    // Two quiet minutes, two levels.
    now += 2 * DECAY;
    assert_eq!(eject(&mut tracker, now), seconds(120));
}

#[test]
fn whoever_has_the_address_next_begins_without_a_record() {
    let now = Instant::now();
    let mut tracker = OutlierTracker::default();
    eject(&mut tracker, now);
    assert!(tracker.forget(&target(1)));
    assert!(tracker.ejected().is_empty());
    assert!(!tracker.forget(&target(1)));
    assert_eq!(eject(&mut tracker, now), FIRST_EJECTION);
}

#[test]
fn nothing_is_remembered_for_ever() {
    let now = Instant::now();
    let mut tracker = OutlierTracker::default();
    eject(&mut tracker, now);
    tracker.observe(now, target(2), ConnectFailure::Refused, client(1));
    tracker.expired(now + WINDOW);
    assert_eq!(tracker.records.len(), 1);
    tracker.expired(now + FIRST_EJECTION + DECAY);
    assert!(tracker.records.is_empty());

    for n in 0..=MAX_TRACKED as u32 {
        let target = Target::new(L4::Tcp, SocketAddr::new(n.to_be_bytes().into(), 80));
        tracker.observe(now, target, ConnectFailure::Refused, client(1));
    }
    assert_eq!(tracker.records.len(), MAX_TRACKED);
}

#[test]
fn what_was_proven_is_said_in_words_of_the_endpoints_own() {
    let now = Instant::now();
    let mut tracker = OutlierTracker::default();
    for (n, failure, words) in [
        (1, ConnectFailure::Refused, "nothing listens at 10.0.0.1:1"),
        (2, ConnectFailure::Unanswered, "10.0.0.1:2 does not answer"),
    ] {
        assert!(tracker.prove(now, target(n), failure));
        let reason = &tracker.ejected()[&target(n)].reason;
        assert!(reason.starts_with(words), "{reason}");
    }
}
