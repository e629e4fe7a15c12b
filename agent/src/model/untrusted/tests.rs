use super::*;

#[test]
fn a_cut_falls_between_characters() {
    assert_eq!(cut("aéb", 2), "a");
    assert_eq!(cut("aéb", 3), "aé");
    assert_eq!(cut("aéb", 100), "aéb");
}

#[test]
fn a_line_is_one_line() {
    assert_eq!(one_line("a\r\n\x1b[2Jb", 100), "a   [2Jb");
    assert_eq!(one_line("éé\né", 3), "éé ");
}

#[test]
fn an_excerpt_is_one_bounded_line() {
    assert_eq!(&*excerpt("  all\n\x1b[31mslots\r\n"), "all  [31mslots");
    let long = "ä".repeat(MAX_EXCERPT + 1);
    assert_eq!(excerpt(&long).chars().count(), MAX_EXCERPT + 1);
    assert!(excerpt(&long).ends_with("ä…"));
    assert_eq!(&*excerpt(&long[..MAX_EXCERPT * 2]), &long[..MAX_EXCERPT * 2]);
}

#[test]
fn impossible_names_count_as_absent() {
    for text in [String::new(), "a b".into(), "a\u{7}".into(), "ünï".into(), "x".repeat(MAX_NAME + 1)] {
        assert_eq!(name(&text), None, "{text:?}");
    }
    assert_eq!(name(&"x".repeat(MAX_NAME)).unwrap().len(), MAX_NAME);
}
