//! What is in the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Made by builds and tools: not in the repository.
const NOT_OURS: [&str; 3] = [".git", "target", "artifacts"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether there is a file or a directory.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// A relative path seen from a directory.
pub(crate) fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Names at the top.
pub(crate) fn top() -> Vec<String> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| !NOT_OURS.contains(&name.as_str())).collect()
}

/// Every file, by its path from the top.
pub(crate) fn files() -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![root()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of all programs.
pub(crate) fn sources() -> String {
    let paths = files().into_iter().filter(|path| path.ends_with(".rs") && !path.starts_with("tests/tests/documents/"));
    paths.map(|path| read(&path)).collect()
}
