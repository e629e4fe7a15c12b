use super::*;

#[test]
fn every_way_of_writing_a_signal_is_understood() {
    for (text, number) in [
        ("15", 15),
        ("SIGTERM", 15),
        ("TERM", 15),
        ("sigquit", 3),
        ("QUIT", 3),
        ("3", 3),
        ("HUP", 1),
        ("SIGKILL", 9),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("SIGRTMAX", 64),
        ("64", 64),
    ] {
        assert_eq!(Signal::parse(text), Some(Signal(number)), "{text}");
    }
}

#[test]
fn what_is_no_signal_is_none() {
    for text in ["", "0", "65", "-9", "256", "SIG", "SIGFOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+", "é"] {
        assert_eq!(Signal::parse(text), None, "{text}");
    }
}
