use super::*;

fn of(f: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    f(&mut out);
    out
}

#[test]
fn a_line_cannot_move_the_cursor() {
    assert_eq!(of(|out| line(out, "a\x1b[2J\u{202e}b\nc\u{9b}")), "a\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}\n");
}

#[test]
fn a_line_is_cut_at_a_hundred_columns() {
    assert_eq!(of(|out| line(out, &"é".repeat(100))), "é".repeat(100) + "\n");
    assert_eq!(of(|out| line(out, &"é".repeat(101))), "é".repeat(99) + "…\n");
}

#[test]
fn columns_stand_under_each_other() {
    let rows = [["a".to_owned(), "bbb".to_owned()], ["äää".to_owned(), "c".to_owned()]];
    assert_eq!(of(|out| table(out, 2, &rows)), "  a    bbb\n  äää  c\n");
}

#[test]
fn a_paragraph_wraps_under_its_beginning() {
    let text = of(|out| paragraph(out, "why: ", &"word ".repeat(30)));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("why: word word") && lines[0].chars().count() <= WIDTH);
    assert!(lines[1].starts_with("     word"));
    assert_eq!(of(|out| paragraph(out, "why: ", &"x".repeat(300))).lines().count(), 1, "one long word is cut");
}

#[test]
fn ages_take_the_largest_unit() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let ago = |seconds: i64| age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
    assert_eq!([ago(0), ago(59), ago(60), ago(3600), ago(86_400 * 8)].join(" "), "0s 59s 1m 1h 8d");
    assert_eq!(ago(-5), "0s", "a clock that was set back");
}
