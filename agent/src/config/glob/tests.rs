use super::Glob;

#[test]
fn stars_and_question_marks() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("web", "web", true),
        ("web", "web2", false),
        ("web*", "web-2", true),
        ("*web", "my-web", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-b-b", false),
        ("w?b", "wéb", true),
        ("w?b", "wb", false),
        ("[a]", "a", false),
        ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
    ] {
        assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
    }
}
