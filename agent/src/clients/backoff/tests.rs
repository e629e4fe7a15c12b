use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PLAIN: Backoff = Backoff::new(SECOND, Duration::from_secs(5));

#[test]
fn waits_double_up_to_the_longest_and_begin_anew() {
    let mut delays = PLAIN.delays();
    let mut next = |n: usize| (0..n).map(|_| delays.wait().as_secs()).collect::<Vec<_>>();
    assert_eq!(next(5), [1, 2, 4, 5, 5]);
    delays.reset();
    assert_eq!(delays.wait(), SECOND);
}

#[test]
fn a_wait_can_be_had_by_its_number() {
    let waits: Vec<u64> = [0, 1, 2, 3, 64, u32::MAX].map(|failures| PLAIN.after(failures).as_secs()).into();
    assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
}

#[test]
fn jitter_adds_up_to_the_wait_itself() {
    let mut delays = PLAIN.jittered().delays();
    for least in [1, 2, 4, 5, 5].map(Duration::from_secs) {
        let wait = delays.wait();
        assert!((least..=2 * least).contains(&wait), "{wait:?}");
    }
}

#[test]
fn what_is_bounded_ends_for_a_retry_and_goes_on_for_others() {
    let bounded = PLAIN.within(Duration::from_secs(8));
    assert_eq!(bounded.build().map(|wait| wait.as_secs()).collect::<Vec<_>>(), [1, 2, 4]);
    let mut delays = bounded.delays();
    assert_eq!((0..5).map(|_| delays.wait().as_secs()).collect::<Vec<_>>(), [1, 2, 4, 5, 5]);
}
