use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn entries(prefix: &str, entries: &[(&str, Value)]) -> Vec<Named> {
    let entry = |(key, value): &(&str, Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        Entry { key: format!("{prefix}{key}").into(), value: value.into(), mod_revision: 1 }
    };
    named(prefix, entries.iter().map(entry).collect())
}

fn rulings(stored: &[(&str, Value)]) -> Stored {
    Stored { rulings: entries("/rulings/", stored), ..Stored::default() }
}

fn outcomes(stored: &[(&str, Value)]) -> Stored {
    Stored { outcomes: entries("/outcomes/", stored), ..Stored::default() }
}

#[test]
fn what_was_written_is_read() {
    let ruling = Ruling { refused: true, at: at(NOW), by: "node-a".into(), why: "orders was down".into() };
    let outcome = Outcome { version: Version::new(1, 51, 0), good: false, at: at(NOW) };
    let stored = Stored {
        rulings: entries("/rulings/", &[("1.51.0", json!(ruling))]),
        outcomes: entries("/outcomes/", &[("node-a", json!(outcome))]),
        reset: entries("", &[("/reset", json!(Reset { at: at("2026-11-20T00:00:00Z") }))]),
    };
    let board = Board {
        rulings: [(Version::new(1, 51, 0), ruling)].into(),
        outcomes: [(Arc::from("node-a"), outcome)].into(),
        since: Some(at("2026-11-20T00:00:00Z")),
    };
    assert_eq!(stored.board(at(NOW)), (board, 0));
    assert_eq!(Stored::default().board(at(NOW)), (Board::default(), 0));
}

#[test]
fn what_makes_no_sense_is_skipped_and_the_rest_is_read() {
    let good = json!({ "refused": true, "at": NOW, "by": "a", "why": "" });
    let board = rulings(&[
        ("1.2.3", good.clone()),
        ("", good.clone()),
        ("latest", good.clone()),
        ("1.2.4", json!("")),
        ("1.2.5", json!("\u{0}\u{1}")),
        ("1.2.6", json!({ "refused": "yes", "at": NOW, "by": "a", "why": "" })),
        ("1.2.7", json!({ "refused": true, "at": "soon", "by": "a", "why": "" })),
        ("1.2.8", json!({ "refused": true, "at": "2026-11-23T12:00:01Z", "by": "a", "why": "from tomorrow" })),
        ("1.2.9", json!({ "refused": true, "at": NOW, "by": "a", "why": "x".repeat(MAX_VALUE) })),
    ])
    .board(at(NOW));
    assert_eq!(board.0.rulings.keys().collect::<Vec<_>>(), [&Version::new(1, 2, 3)]);
    assert_eq!(board.1, 8);

    let good = json!({ "version": "1.2.3", "good": true, "at": NOW });
    let long = "n".repeat(MAX_NAME + 1);
    let names = ["node", "", "a b", "a\nb", "ä", &long];
    let (board, skipped) = outcomes(&names.map(|name| (name, good.clone()))).board(at(NOW));
    assert_eq!((board.outcomes.keys().map(|name| &**name).collect::<Vec<_>>(), skipped), (vec!["node"], 5));

    let bytes = Entry { key: b"/outcomes/\xff".to_vec(), value: b"\xff".to_vec(), mod_revision: 1 };
    let elsewhere = Entry { key: b"/other".to_vec(), value: good.to_string().into(), mod_revision: 1 };
    let stored = Stored { outcomes: named("/outcomes/", vec![bytes, elsewhere]), ..Stored::default() };
    assert_eq!(stored.board(at(NOW)), (Board::default(), 2));

    let reset =
        Stored { reset: entries("", &[("/reset", json!({ "at": "2030-01-01T00:00:00Z" }))]), ..Stored::default() };
    assert_eq!(reset.board(at(NOW)), (Board::default(), 1));
}

#[test]
fn strangers_words_are_shown_on_one_short_line() {
    let word = json!({ "refused": true, "at": NOW, "by": "a\u{1b}[2J", "why": "x\n".repeat(500) });
    let (board, _) = rulings(&[("1.2.3", word)]).board(at(NOW));
    let ruling = &board.rulings[&Version::new(1, 2, 3)];
    assert_eq!(&*ruling.by, "a [2J");
    assert!(ruling.why.chars().count() < 400 && !ruling.why.contains('\n'), "{}", ruling.why);
}

#[test]
fn a_newer_word_goes_over_an_older_one_and_over_nonsense() {
    let word = |time: &str| Outcome { version: Version::new(1, 2, 3), good: true, at: at(time) };
    let stored = json!(word("2026-11-22T10:00:00Z")).to_string();
    let news = |stored: Option<&str>, time| is_news(stored.map(str::as_bytes), &word(time), at(NOW));
    assert!(news(None, NOW));
    assert!(news(Some(&stored), "2026-11-22T10:00:00.000000001Z"));
    assert!(!news(Some(&stored), "2026-11-22T10:00:00Z"), "the same word again is no news");
    assert!(!news(Some(&stored), "2026-11-22T09:00:00Z"));
    assert!(news(Some("nonsense"), NOW));
    let ahead = json!(word("2027-01-01T00:00:00Z")).to_string();
    assert!(news(Some(&ahead), NOW), "a word from the far future is no word");
}
