use std::path::PathBuf;

use tokio::net::TcpListener;

use super::*;
use crate::update::banks::{Bank, Flags};

/// Settings whose state is kept in that directory.
fn settings(directory: &Path, update: &str) -> Settings {
    let text =
        format!("version = 1\n{update}\n[paths]\nstate_dir = {directory:?}\nsignpost = \"/nonexistent/signpost\"");
    crate::config::parse(Path::new("meshdog.toml"), &text).unwrap()
}

fn check<'a>(checks: &'a [DoctorCheck], name: &str) -> &'a DoctorCheck {
    checks.iter().find(|check| check.name == name).unwrap()
}

#[tokio::test]
async fn where_updates_are_off_nothing_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(look(&settings(dir.path(), "update.mode = \"off\"")).await, []);
}

#[tokio::test]
async fn what_updates_need_is_looked_at_and_the_mesh_does_without() {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let update = format!(
        "[registry.etcd]\nendpoints = [\"http://{free}\"]\n[update]\nmode = \"check\"\n[update.fleet]\n\
         lock = \"fleetlock\"\nurl = \"http://{free}\""
    );
    let checks = look(&settings(&dir.path().join("state"), &update)).await;
    let names: Vec<_> = checks.iter().map(|check| &*check.name).collect();
    assert_eq!(names, ["banks", "update journal", "lock server", "fleet's board"]);
    assert!(checks.iter().all(|check| !check.needed));
    // Where it cannot be told that the program is absent, the host's namespaces cannot be entered.
    assert!(!check(&checks, "banks").ok);
    assert_eq!(check(&checks, "update journal").detail, "none yet");
    assert!(check(&checks, "lock server").detail.contains("Connection refused"));
    assert!(check(&checks, "fleet's board").detail.contains("no etcd member answered"), "{checks:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_lock_server_that_accepts_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://localhost:{port}/lock").parse().unwrap();
    assert_eq!(lock_server(&url).await.unwrap(), format!("localhost:{port} accepts"));
}

#[test]
fn a_host_with_one_bank_is_told_to_leave_updates_off() {
    for error in [SignpostError::SingleBank, SignpostError::Absent(PathBuf::from("/usr/bin/signpost"))] {
        let check = banks(Err(error));
        assert!(!check.ok && check.detail.contains("takes no updates in place"), "{check:?}");
        assert!(check.advice.unwrap().contains("update.mode to off"));
    }
    let check = banks(Err(SignpostError::Timeout("status")));
    assert!(check.advice.unwrap().contains("paths.signpost"));
}

#[test]
fn both_banks_are_told() {
    let runs = Flags { priority: 2, tries_left: 0, successful: true };
    let unused = Flags { priority: 0, tries_left: 0, successful: false };
    let of = |running, other| banks(Ok(Banks { active: Bank::B, running, other }));
    assert_eq!(of(runs, unused).detail, "bank B runs, and boots next");
    assert_eq!(of(runs, Flags { priority: 3, ..runs }).detail, "bank B runs, and bank A boots next");
    assert!(!of(unused, unused).ok);
}

#[test]
fn a_journal_is_read_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(journal(dir.path()).unwrap(), "none yet");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let (mut written, _) = Journal::open(dir.path()).unwrap();
    for value in ["one", "two"] {
        written.save(value).unwrap();
    }
    assert_eq!(journal(dir.path()).unwrap(), "whole");
    for slot in ["update-journal.0", "update-journal.1"] {
        std::fs::write(dir.path().join(slot), "nonsense").unwrap();
    }
    assert!(journal(dir.path()).unwrap_err().contains("lost"));
}
