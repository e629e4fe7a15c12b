//! Commands: of the agent, of `tests/run`, of `tests/bench`.

use std::collections::HashSet;

use clap::{Command, CommandFactory};

use super::markdown::{Code, Document};
use super::repository;

/// What ends a command.
const ENDS: [&str; 6] = ["#", "|", "||", "&&", "…", "\\"];
/// What the agent's name follows where it is a command.
const BEGINS: [&str; 5] = ["$", "#", "exec", "meshdog", "&&"];

/// Each use of a program: its line and the words that follow its name.
fn uses<'a>(document: &'a Document, is_program: impl Fn(&[&str], usize) -> bool + 'a) -> Vec<(usize, Vec<&'a str>)> {
    let shell =
        |code: &&Code| code.language.as_deref().is_none_or(|language| matches!(language, "" | "console" | "sh"));
    let mut found = Vec::new();
    for code in document.code.iter().filter(shell) {
        let words: Vec<&str> = code.words().collect();
        for at in (0..words.len()).filter(|at| is_program(&words, *at)) {
            let further = words[at + 1..].iter().take_while(|word| !ENDS.contains(word)).copied();
            found.push((code.line, further.collect()));
        }
    }
    found
}

/// A word that stands for what the reader fills in.
fn is_open(word: &str) -> bool {
    word.chars().all(|c| !c.is_ascii_lowercase()) || word.contains('<')
}

fn agent(document: &Document) -> Vec<(usize, Vec<&str>)> {
    uses(document, |words, at| {
        let begins = at == 0 || BEGINS.contains(&words[at - 1]);
        words[at] == "meshdog" && begins && words.get(at + 1).is_some_and(|next| *next != "meshdog")
    })
}

/// The command of the agent that some words come to, and what is wrong with them.
fn follow(words: &[&str]) -> (Vec<String>, Option<String>) {
    let root = meshdog::cli::Cli::command();
    let knows = |command: &Command, flag: &str| {
        command.get_arguments().chain(root.get_arguments()).any(|argument| argument.get_long() == Some(flag))
    };
    let (mut command, mut path) = (&root, Vec::new());
    for word in words {
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or_default();
            if !knows(command, flag) && !["help", "version"].contains(&flag) {
                return (path.clone(), Some(format!("meshdog {} has no --{flag}", path.join(" "))));
            }
        } else if let Some(next) = command.find_subcommand(word) {
            path.push((*word).to_owned());
            command = next;
        } else if command.has_subcommands() && !is_open(word) {
            return (path.clone(), Some(format!("meshdog {} knows no {word}", path.join(" "))));
        }
    }
    (path, None)
}

#[test]
fn every_command_of_the_agent_is_there() {
    super::hold(|document| {
        let faults = agent(document).into_iter().map(|(line, words)| (line, follow(&words).1));
        faults.filter_map(|(line, fault)| Some((line, fault?))).collect()
    });
}

#[test]
fn every_command_is_documented() {
    let documents = super::documents();
    let told: HashSet<Vec<String>> = documents.iter().flat_map(agent).map(|(_, words)| follow(&words).0).collect();
    let root = meshdog::cli::Cli::command();
    for command in root.get_subcommands() {
        let path = vec![command.get_name().to_owned()];
        let nested = command.get_subcommands().map(|nested| [&path[..], &[nested.get_name().to_owned()]].concat());
        let expected: Vec<_> = if command.has_subcommands() { nested.collect() } else { vec![path.clone()] };
        let missing: Vec<_> = expected.into_iter().filter(|path| !told.contains(path)).collect();
        assert!(missing.is_empty(), "no document tells of meshdog {missing:?}");
    }
}

/// The suites, and the words that the script takes beside them.
fn suites() -> (String, Vec<String>) {
    let script = repository::read("tests/run");
    let listed = |name: &str| {
        let names = script.split_once(&format!("{name}=(")).unwrap().1.split_once(')').unwrap().0;
        names.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let suites = [listed("suites"), listed("by_name")].concat();
    (script, suites)
}

#[test]
fn every_suite_is_there() {
    let (script, suites) = suites();
    super::hold(|document| {
        let mut faults = Vec::new();
        for (line, words) in uses(document, |words, at| words[at].trim_start_matches("./") == "tests/run") {
            for word in words.into_iter().filter(|word| !is_open(word)) {
                let known =
                    if word.starts_with("--") { script.contains(word) } else { suites.iter().any(|s| s == word) };
                if !known {
                    faults.push((line, format!("tests/run knows no {word}")));
                }
            }
        }
        faults
    });
}

#[test]
fn every_suite_is_documented() {
    let contributing = repository::read("CONTRIBUTING.md");
    let missing: Vec<_> =
        suites().1.into_iter().filter(|suite| !contributing.contains(&format!("`tests/run {suite}`"))).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md does not name the suites {missing:?}");
}

#[test]
fn every_part_of_the_benchmark_is_there() {
    let bench = meshdog_tests::bench::Args::command();
    let only = bench.get_arguments().find(|argument| argument.get_long() == Some("only")).unwrap();
    let parts: Vec<String> = only.get_possible_values().iter().map(|part| part.get_name().to_owned()).collect();
    super::hold(|document| {
        let mut faults = Vec::new();
        for (line, words) in uses(document, |words, at| words[at].trim_start_matches("./") == "tests/bench") {
            for word in words.into_iter().filter(|word| !is_open(word)) {
                let known = match word.strip_prefix("--") {
                    Some(flag) => flag == "help" || bench.get_arguments().any(|known| known.get_long() == Some(flag)),
                    None => parts.iter().any(|part| part == word),
                };
                if !known {
                    faults.push((line, format!("tests/bench knows no {word}")));
                }
            }
        }
        faults
    });
}
