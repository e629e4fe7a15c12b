//! On programs that behave in every way that a host's signpost may. They run where the test does: to join namespaces
//! needs root, and is tried in `kernel_tests`.

use std::time::Instant;

use tempfile::TempDir;

use super::super::{Bank, Flags};
use super::*;

#[cfg(feature = "kernel")]
mod kernel_tests;

/// How long to wait for a state that is to come. Only a failing test takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

const STATUS: &str = "\
Set A:   boot=/dev/vda3 priority=1 tries_left=0 successful=true
Set B:   boot=/dev/vda8 priority=2 tries_left=1 successful=false
Active:  Set A
Next:    Set B
";

/// A program of the host, as a shell script.
struct Program {
    dir: TempDir,
}

impl Program {
    fn new(script: &str) -> Self {
        let program = Self { dir: tempfile::tempdir().unwrap() };
        // Another process writes it: were it this one, a process that another test forks meanwhile could hold the file
        // open for writing, and it could not be executed.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod +x "$2""#;
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(program.path());
        assert!(shell.status().unwrap().success());
        program
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("signpost")
    }

    fn signpost(&self) -> Signpost {
        signpost(self.path())
    }

    /// Whether any process was started from it.
    fn runs(&self) -> bool {
        let path = self.path().into_os_string().into_string().unwrap();
        procfs::process::all_processes().unwrap().flatten().any(|process| {
            // Those that have ended meanwhile have none.
            process.cmdline().is_ok_and(|words| words.contains(&path))
        })
    }

    fn is_gone(&self) {
        let begun = Instant::now();
        while self.runs() {
            assert!(begun.elapsed() < PATIENCE, "{} still runs", self.path().display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn signpost(program: PathBuf) -> Signpost {
    Signpost { program, namespaces: "/nowhere".into(), kinds: &[] }
}

#[tokio::test]
async fn the_status_is_read() {
    let program =
        Program::new(&format!(r#"[ "$*" = status ] && echo 'a warning' >&2 && cat <<'END'{}"#, heredoc(STATUS)));
    let banks = program.signpost().status().await.unwrap();
    let running = Flags { priority: 1, tries_left: 0, successful: true };
    let other = Flags { priority: 2, tries_left: 1, successful: false };
    assert_eq!(banks, Banks { active: Bank::A, running, other });
}

fn heredoc(text: &str) -> String {
    format!("\n{text}END")
}

#[tokio::test]
async fn rolling_back_is_one_command_with_nothing_of_ours_around_it() {
    let program = Program::new(r#"echo "$*" >"$0.asked"; env | sort >"$0.env"; cat >"$0.stdin""#);
    program.signpost().roll_back().await.unwrap();
    let left = |what: &str| std::fs::read_to_string(program.dir.path().join(format!("signpost.{what}"))).unwrap();
    assert_eq!(left("asked"), "rollback-to-inactive\n");
    assert_eq!(left("stdin"), "");
    // A shell adds some of its own.
    let env = left("env");
    let env: Vec<_> =
        env.lines().filter(|line| !["PWD=", "_=", "SHLVL="].iter().any(|own| line.starts_with(own))).collect();
    assert_eq!(env, [format!("PATH={PATH}")]);
}

#[tokio::test]
async fn a_host_without_two_banks_is_told_from_a_failure() {
    let nowhere = signpost("/nowhere/signpost".into()).status().await.unwrap_err();
    assert!(matches!(nowhere, SignpostError::Absent(_)) && nowhere.is_unsupported(), "{nowhere}");
    let cases = [
        ("echo 'Inactive partition /dev/nvme0n1 is not available' >&2; exit 1", true),
        ("printf 'Set A: priority=1 tries_left=0 successful=true\nActive: Set A\n'", true),
        ("echo 'Failed to find guid partition for set B' >&2; exit 1", false),
        ("echo 'Failed to find GPT on device /dev/nvme0n1: invalid signature' >&2; exit 1", false),
        ("echo 'Inactive partition /dev/nvme0n1 has not been marked valid for upgrade' >&2; exit 1", false),
        ("exit 0", false),
        ("exit 1", false),
        ("kill -KILL $$", false),
    ];
    for (script, unsupported) in cases {
        let error = Program::new(script).signpost().status().await.unwrap_err();
        assert_eq!(error.is_unsupported(), unsupported, "{script}: {error}");
    }
}

#[tokio::test]
async fn a_failure_is_in_the_words_of_the_program() {
    let refusal = "Inactive partition is not valid to roll back to (priority=2 tries_left=0 successful=false)";
    let program = Program::new(&format!("echo '{refusal}' >&2; exit 1"));
    let error = program.signpost().roll_back().await.unwrap_err().to_string();
    assert_eq!(error, format!("signpost rollback-to-inactive failed (exit status: 1): {refusal}"));
}

#[tokio::test]
async fn what_cannot_be_executed_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let error = signpost(dir.path().to_owned()).status().await.unwrap_err();
    assert!(matches!(error, SignpostError::Run { .. }), "{error}");
    let nobody = Signpost { program: "/bin/true".into(), namespaces: dir.path().to_owned(), kinds: &NAMESPACES };
    let error = nobody.status().await.unwrap_err();
    assert!(matches!(&error, SignpostError::Namespace { path, .. } if path.ends_with("ipc")), "{error}");
    assert!(!error.is_unsupported());
}

#[tokio::test]
async fn what_talks_too_much_is_killed() {
    for to in ["", ">&2"] {
        let program = Program::new(&format!(
            "trap '' PIPE; while :; do echo 'Set A: 0123456789 0123456789 0123456789' {to}; done"
        ));
        let error = program.signpost().status().await.unwrap_err();
        assert!(matches!(error, SignpostError::TooLong("status")), "{error}");
        program.is_gone();
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_killed() {
    // Its own name stays among its words, and it does not notice that nobody listens.
    let program = Program::new(r#"exec tail -f "$0" >/dev/null 2>&1"#);
    let error = program.signpost().status().await.unwrap_err();
    assert!(matches!(error, SignpostError::Timeout("status")), "{error}");
    program.is_gone();
}
