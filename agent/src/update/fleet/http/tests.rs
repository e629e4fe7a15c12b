use super::*;

fn below_text(base: &str) -> String {
    below(&base.parse().unwrap(), &["v1", "pre-reboot"]).to_string()
}

#[test]
fn a_base_keeps_its_own_path() {
    for (base, url) in [
        ("http://h:1", "http://h:1/v1/pre-reboot"),
        ("http://h:1/", "http://h:1/v1/pre-reboot"),
        ("http://h:1/base", "http://h:1/base/v1/pre-reboot"),
        ("http://h:1/base/", "http://h:1/base/v1/pre-reboot"),
    ] {
        assert_eq!(below_text(base), url);
    }
}

#[test]
fn words_stay_on_one_short_line() {
    assert_eq!(&*one_line("  all\n\x1b[31mslots\r\n"), "all  [31mslots");
    let long = "ä".repeat(MAX_TEXT + 1);
    assert_eq!(one_line(&long).chars().count(), MAX_TEXT + 1);
    assert!(one_line(&long).ends_with("ä…"));
    assert_eq!(&*one_line(&long[..MAX_TEXT * 2]), &long[..MAX_TEXT * 2]);
}
