use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::parse;

/// What each version's example showed, and what today's does: every key of it stays readable.
const EXAMPLES: [&str; 2] = [include_str!("tests/example-0.1.toml"), include_str!("../../../packaging/meshdog.toml")];

/// A key of an example: where it stands, and its value unless that is a table or a list of them.
struct Key {
    name: String,
    place: std::ops::Range<usize>,
    value: Option<std::ops::Range<usize>>,
}

fn keys(table: &DeTable<'_>, path: &str, found: &mut Vec<(String, Key)>) {
    for (key, value) in table {
        let path = format!("{path}.{}", key.get_ref());
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_table()).collect(),
            _ => Vec::new(),
        };
        let value = tables.is_empty().then(|| value.span());
        found.push((path.clone(), Key { name: key.get_ref().to_string(), place: key.span(), value }));
        // Whose keys the user chooses.
        if !path.ends_with(".labels") {
            tables.into_iter().for_each(|table| keys(table, &path, found));
        }
    }
}

fn keys_of(text: &str) -> Vec<(String, Key)> {
    let mut found = Vec::new();
    keys(DeTable::parse(text).map(Spanned::into_inner).as_ref().unwrap(), "", &mut found);
    found
}

/// The faults of a text in which something else stands in one place, at that place.
fn faults(text: &str, place: std::ops::Range<usize>, instead: &str) -> Vec<String> {
    let before = &text[..place.start];
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let text = [before, instead, &text[place.end..]].concat();
    let errors = parse(Path::new("f"), &text).map(drop).expect_err(instead);
    let here = errors.list().iter().filter(|error| (error.line, error.column) == (line, column));
    here.map(|error| error.message.clone()).collect()
}

#[test]
fn every_example_stays_readable() {
    for text in EXAMPLES {
        parse(Path::new("f"), text).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn every_key_of_an_example_is_known_and_read() {
    for text in EXAMPLES {
        let keys = keys_of(text);
        for path in [".update.wave", ".update.refuse", ".update.verify.tcp", ".update.fleet.breaker", ".service.match"]
        {
            assert!(keys.iter().any(|(found, _)| found == path), "{path} is not shown");
        }
        for (path, Key { name, place, value }) in keys {
            let unknown = faults(text, place, &format!("{name}x"));
            let [fault] = &unknown[..] else { panic!("{path}: {unknown:?}") };
            assert!(fault.starts_with(&format!("unknown key `{name}x` in ")), "{path}: {fault}");
            assert!(fault.ends_with(&format!("; did you mean `{name}`?")), "{path}: {fault}");
            // No key takes a date.
            let Some(value) = value else { continue };
            let wrong = faults(text, value, "2020-01-01");
            let [fault] = &wrong[..] else { panic!("{path}: {wrong:?}") };
            assert!(fault.starts_with(&format!("`{name}` in ")), "{path}: {fault}");
            assert!(fault.contains("found a date or time; write "), "{path}: {fault}");
        }
    }
}

/// As deep and as many as a file may hold: told in few words, and no stack is too small for it.
#[test]
fn hostile_texts_are_refused_within_bounds() {
    let deep = 100_000;
    for (text, problem) in [
        ("a = ".to_owned() + &"[".repeat(deep), "not TOML: cannot recurse further"),
        (format!("a = {}{}", "[".repeat(deep), "]".repeat(deep)), "not TOML: cannot recurse further"),
        ("a = ".to_owned() + &"{a=".repeat(deep), "not TOML: cannot recurse further"),
        (format!("a{} = 1", ".a".repeat(deep)), "not TOML: recursion limit"),
        (format!("[a{}]", ".a".repeat(deep)), "not TOML: recursion limit"),
        (format!("b = {{ a{} = 1 }}", ".a".repeat(deep)), "not TOML: recursion limit"),
    ] {
        let errors = parse(Path::new("f"), &text).unwrap_err();
        let [error] = errors.list() else { panic!("{errors}") };
        assert!(error.message.starts_with(problem), "{errors}");
    }
    let keys: String = (0..1003).map(|n| format!("k{n} = 1\n")).collect();
    for (text, last) in [
        (format!("version = 1\n{keys}"), "1002:1: 3 more faults from here on; mend those above first"),
        ("=\n".repeat(5000), "1001:1: 4000 more faults from here on; mend those above first"),
    ] {
        let errors = parse(Path::new("f"), &text).unwrap_err();
        assert_eq!(errors.list().len(), 1001);
        assert!(errors.to_string().ends_with(&format!("\nf:{last}")), "{:?}", errors.list().last());
    }
}
