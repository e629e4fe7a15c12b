//! Paths, and names of the code.

use super::repository;

/// Where a part of a path is left open, the path as far as it is given.
fn given(word: &str) -> &str {
    let path = word.strip_prefix("./").unwrap_or(word).trim_end_matches(['.', '/']);
    match path.find(['<', '*', '{', '…']) {
        Some(open) => path[..open].rsplit_once('/').map_or("", |(directory, _)| directory),
        None => path,
    }
}

#[test]
fn every_path_is_there() {
    let (top, files) = (repository::top(), repository::files());
    let is_file = |path: &str| files.iter().any(|file| file == path || file.ends_with(&format!("/{path}")));
    super::hold(|document| {
        let mut faults = Vec::new();
        let words = document.code.iter().flat_map(|code| code.words().map(|word| (code.line, given(word))));
        for (line, path) in words.filter(|(_, path)| !path.starts_with('/') && !path.contains("://")) {
            let first = path.split('/').next().unwrap_or_default();
            let named = [".rs", ".md", ".toml"].iter().any(|end| path.ends_with(end));
            if path.contains('/') && top.iter().any(|name| name == first) {
                if !repository::exists(path) {
                    faults.push((line, format!("{path} is not there")));
                }
            } else if named && !is_file(path) {
                faults.push((line, format!("no file is called {path}")));
            }
        }
        faults
    });
}

/// `module::item` of the agent, and types by their names.
#[test]
fn every_name_of_the_code_is_there() {
    let sources = repository::sources();
    let words: std::collections::HashSet<&str> = sources.split(|c: char| !is_of_word(c)).collect();
    super::hold(|document| {
        let mut faults = Vec::new();
        for code in document.code.iter().filter(|code| code.language.is_none()) {
            let name = code.text.trim_end_matches("()");
            let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.contains(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric());
            if (is_type && document.path == "ARCHITECTURE.md" || name.contains("::")) && !is_known(name, &words) {
                faults.push((code.line, format!("nothing is called {name}")));
            }
        }
        faults
    });
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the modules that a name begins with are there, and its other words are words of the last one, or of the code.
fn is_known(name: &str, words: &std::collections::HashSet<&str>) -> bool {
    let parts: Vec<&str> = name.split("::").filter(|part| !matches!(*part, "crate" | "meshdog")).collect();
    let mut directory = "agent/src".to_owned();
    let is_word = |module: &str, part: &str| match module {
        "agent/src" => words.contains(part),
        module => repository::read(&format!("{module}.rs")).split(|c: char| !is_of_word(c)).any(|word| word == part),
    };
    for part in parts {
        let module = format!("{directory}/{part}");
        if repository::exists(&format!("{module}.rs")) {
            directory = module;
        } else if !is_word(&directory, part) {
            return false;
        }
    }
    true
}
