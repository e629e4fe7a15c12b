//! The documents are held to the code: every path, link, command, configuration key and name of the code in them exists.
//! Metrics are held to the operator's guide where they are made, in `telemetry::metrics`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod commands;
mod keys;
mod markdown;
mod names;
mod repository;

use markdown::Document;

/// Every document for people.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "packaging/operators-guide.md",
    "agent/src/update/machine.md",
];

fn documents() -> Vec<Document> {
    DOCUMENTS.iter().map(|path| Document::read(path)).collect()
}

/// Fails with every fault that a check finds in a document, at its place.
fn hold(check: impl Fn(&Document) -> Vec<(usize, String)>) {
    let faults = documents().into_iter().flat_map(|document| {
        let faults = check(&document);
        faults.into_iter().map(move |(line, fault)| format!("{}:{line}: {fault}", document.path))
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
