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
