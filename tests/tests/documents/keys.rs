//! Keys of the configuration: those of the packaged example, which the reader's own tests hold to the reader.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::repository;

fn known() -> BTreeSet<String> {
    let example: Table = repository::read("packaging/meshdog.toml").parse().unwrap();
    let mut found = BTreeSet::new();
    collect(&example, "", &mut found);
    found
}

fn collect(table: &Table, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => collect(inner, &path, found),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_table).for_each(|inner| collect(inner, &path, found));
            }
            _ => {}
        }
        found.insert(path);
    }
}

/// The name of a table that a line of TOML opens.
fn opened(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.split(']').next()?.trim_start_matches('[');
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "._-".contains(c))).then_some(name)
}

#[test]
fn every_key_is_known() {
    let known = known();
    let is_table = |name: &str| known.range(format!("{name}.")..).next().is_some_and(|key| key.starts_with(name));
    super::hold(|document| {
        let mut faults = Vec::new();
        for code in document.code.iter().filter(|code| code.language.is_none()) {
            let word = code.text.split_whitespace().next().unwrap_or_default();
            let key = opened(word).unwrap_or(word);
            let dotted = key.contains('.') || opened(word).is_some();
            let is_key =
                dotted && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c));
            let ours = is_table(key.split('.').next().unwrap_or_default());
            let is_file = [".rs", ".md", ".toml"].iter().any(|end| key.ends_with(end));
            if is_key && ours && !is_file && !known.contains(key) {
                faults.push((code.line, format!("packaging/meshdog.toml has no {key}")));
            }
        }
        faults
    });
}

#[test]
fn every_configuration_is_one() {
    let known = known();
    super::hold(|document| {
        let mut faults = Vec::new();
        for block in document.blocks.iter().filter(|block| block.language.as_deref() == Some("toml")) {
            let versioned = block.text.lines().any(|line| line.trim_start().starts_with("version = "));
            let tables = block.text.lines().filter_map(opened);
            if !versioned && !tables.into_iter().any(|name| known.contains(name)) {
                continue;
            }
            let text = if versioned { block.text.clone() } else { format!("version = 1\n{}", block.text) };
            if let Err(errors) = meshdog::config::parse(Path::new("this block"), &text) {
                faults.push((block.line, errors.to_string()));
            }
        }
        faults
    });
}
