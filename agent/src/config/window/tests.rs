use proptest::prelude::*;

use super::*;

fn window(text: &str) -> Window {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_window_is_half_open_and_goes_by_local_clocks() {
    let berlin = window("Sat 02:00-05:00 Europe/Berlin");
    for (instant, open) in [
        ("2026-07-04T01:59:59+02:00", false),
        ("2026-07-04T02:00:00+02:00", true),
        ("2026-07-04T04:59:59+02:00", true),
        ("2026-07-04T05:00:00+02:00", false),
        ("2026-07-05T03:00:00+02:00", false),
        // Winter: the same clock, another offset.
        ("2026-01-03T02:00:00+01:00", true),
        ("2026-01-03T02:00:00+02:00", false),
    ] {
        assert_eq!(berlin.contains(at(instant)), open, "{instant}");
    }
}

#[test]
fn a_window_may_reach_past_midnight_and_past_the_week() {
    let night = window("Sun 22:30-02:00 UTC");
    for (instant, open) in [
        ("2026-07-05T22:29:00Z", false),
        ("2026-07-05T22:30:00Z", true),
        ("2026-07-06T00:00:00Z", true),
        ("2026-07-06T01:59:59Z", true),
        ("2026-07-06T02:00:00Z", false),
        ("2026-07-05T01:00:00Z", false),
    ] {
        assert_eq!(night.contains(at(instant)), open, "{instant}");
    }
    let day = window("Wed 00:00-24:00 UTC");
    assert!(day.contains(at("2026-07-08T23:59:59Z")));
    assert!(!day.contains(at("2026-07-09T00:00:00Z")));
}

#[test]
fn clocks_that_jump() {
    let gap = window("Sun 02:00-03:00 Europe/Berlin");
    // 2026-03-29: 02:00 to 03:00 does not happen.
    assert!(!gap.contains(at("2026-03-29T00:59:59Z")));
    assert!(!gap.contains(at("2026-03-29T01:00:00Z")));
    // 2026-10-25: it happens twice.
    assert!(gap.contains(at("2026-10-25T00:30:00Z")));
    assert!(gap.contains(at("2026-10-25T01:30:00Z")));
    assert!(!gap.contains(at("2026-10-25T02:00:00Z")));
    // The ends of time do not panic.
    assert!(!gap.contains(Timestamp::MIN) || !gap.contains(Timestamp::MAX));
}

#[test]
fn it_opens_next() {
    for (text, now, opens) in [
        ("Sat 02:00-05:00 Europe/Berlin", "2026-07-01T12:00:00+02:00", "2026-07-04T02:00:00+02:00"),
        ("Sat 02:00-05:00 Europe/Berlin", "2026-07-04T01:59:59.5+02:00", "2026-07-04T02:00:00+02:00"),
        ("Sat 02:00-05:00 Europe/Berlin", "2026-07-04T03:00:00.5+02:00", "2026-07-04T03:00:00.5+02:00"),
        ("Sat 02:00-05:00 Europe/Berlin", "2026-07-04T05:00:00+02:00", "2026-07-11T02:00:00+02:00"),
        // Past midnight: still open the day after.
        ("Sun 22:30-02:00 UTC", "2026-07-06T01:00:00Z", "2026-07-06T01:00:00Z"),
        ("Sun 22:30-02:00 UTC", "2026-07-06T02:00:00Z", "2026-07-12T22:30:00Z"),
        // Clocks skip its beginning: it opens late. They skip all of it: not this week.
        ("Sun 02:00-05:00 Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T00:00:00Z", "2026-04-05T00:00:00Z"),
        // Clocks go back over its beginning, or into its midst: it opens twice.
        ("Sun 02:30-03:00 Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
        ("Sun 02:30-03:00 Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"),
        ("Sun 01:30-02:30 Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
        // Samoa had no 30th of December 2011, a Friday: what is left of its window is on Saturday.
        ("Fri 22:00-02:00 Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z"),
    ] {
        assert_eq!(window(text).next_open(at(now)), Some(at(opens)), "{text} from {now}");
    }
    assert_eq!(window("Sat 02:00-05:00 UTC").next_open(Timestamp::MAX), None);
    assert!(window("Sat 02:00-05:00 UTC").next_open(Timestamp::MIN).is_some());
}

/// Minutes since 2011, about where zones below change their clocks, and anywhere.
fn minutes() -> impl Strategy<Value = Timestamp> {
    let jumps = ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-04-04T15:00:00Z"];
    let jumps = jumps.into_iter().chain(["2011-12-30T10:00:00Z", "2026-10-03T15:30:00Z"]);
    let near = prop::sample::select(jumps.map(|jump| at(jump).as_second()).collect::<Vec<_>>());
    prop_oneof![
        (near, -3000..3000_i64).prop_map(|(jump, minutes)| jump + 60 * minutes),
        (1_300_000_000..1_900_000_000_i64).prop_map(|seconds| seconds / 60 * 60),
    ]
    .prop_map(|seconds| Timestamp::from_second(seconds).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// It is open at its next opening, and at no minute before.
    #[test]
    fn the_next_opening_is_the_first(
        day in prop::sample::select(&DAYS[..]),
        zone in prop::sample::select(&[
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu",
        ][..]),
        from in 0..DAY,
        length in 1..=DAY,
        now in minutes(),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let window = Window { day: day.1, from, to: from + length, zone };
        let opens = window.next_open(now).unwrap();
        prop_assert!(opens >= now && window.contains(opens), "{window} from {now}: {opens}");
        let mut minute = now;
        while minute < opens {
            prop_assert!(!window.contains(minute), "{window} from {now}: {minute} before {opens}");
            minute += 1.minute();
        }
    }
}

#[test]
fn what_is_shown_reads_back() {
    for text in ["Sat 02:00-05:00 Europe/Berlin", "Mon 22:00-02:00 UTC", "Fri 00:00-24:00 America/St_Johns"] {
        assert_eq!(window(text).to_string(), text);
    }
}

#[test]
fn what_is_no_window() {
    for (text, problem) in [
        ("", "DAY FROM-TO ZONE"),
        ("Sat 02:00-05:00", "DAY FROM-TO ZONE"),
        ("Sat 02:00 - 05:00 UTC", "DAY FROM-TO ZONE"),
        ("Saturday 02:00-05:00 UTC", "is not a day"),
        ("Sat 2:00-5:00 UTC", "HH:MM"),
        ("Sat 02:00-24:01 UTC", "HH:MM"),
        ("Sat 24:00-02:00 UTC", "HH:MM"),
        ("Sat 02:60-03:00 UTC", "HH:MM"),
        ("Sat 99:99-99:99 UTC", "HH:MM"),
        ("Sat +2:00-05:00 UTC", "HH:MM"),
        ("Sat 02:00-02:00 UTC", "is empty"),
        ("Sat 02:00-05:00 Europe/Berlim", "IANA"),
        ("Sat 02:00-05:00 ../../etc/passwd", "IANA"),
    ] {
        let error = text.parse::<Window>().unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
