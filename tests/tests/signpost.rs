//! The program `signpost`: on its own, beside a simulated host, and asked by the agent.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bottlerocket_settings::Image;
use meshdog::update::banks::Bank;
use meshdog_tests::disk::layout::{Banked, create};
use meshdog_tests::disk::running::{Running, install};
use meshdog_tests::disk::signpost::USAGE;
use tempfile::TempDir;

const FACTORY: &str = "\
OS disk: /dev/nvme0n1
Set A:   boot=/dev/nvme0n1p3 root=/dev/nvme0n1p4 hash=/dev/nvme0n1p5 priority=1 tries_left=0 successful=true
Set B:   boot=/dev/nvme0n1p8 root=/dev/nvme0n1p9 hash=/dev/nvme0n1p10 priority=0 tries_left=0 successful=false
Active:  Set A
Next:    Set A
";

/// A machine from the factory, with bank A running.
struct Machine {
    dir: TempDir,
    signpost: PathBuf,
}

impl Machine {
    fn new(banked: Banked) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.img");
        let image = Image { arch: "x86_64".into(), version: "1.20.5".into(), variant: "aws-ecs-2".into() };
        create(&disk, banked, &image).unwrap();
        Running::new(disk, Bank::A).tell(dir.path()).unwrap();
        let signpost = install(Path::new(env!("CARGO_BIN_EXE_signpost")), dir.path()).unwrap();
        Self { dir, signpost }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        said(Command::new(&self.signpost).args(arguments).current_dir("/").output().unwrap())
    }
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn failed(stderr: &str) -> (Option<i32>, String, String) {
    (Some(1), String::new(), stderr.to_owned())
}

fn well(stdout: &str) -> (Option<i32>, String, String) {
    (Some(0), stdout.to_owned(), String::new())
}

#[test]
fn it_behaves_as_the_real_one_does() {
    let machine = Machine::new(Banked::Two);
    assert_eq!(machine.run(&["status"]), well(FACTORY));
    assert_eq!(machine.run(&["status", "extra"]), well(FACTORY));
    for none in [&[][..], &["nosuch"], &["--help"], &["-h"], &["Status"], &[""]] {
        assert_eq!(machine.run(none), failed(USAGE), "{none:?}");
    }
    let refusal = "Inactive partition /dev/nvme0n1 has not been marked valid for upgrade\n";
    assert_eq!(machine.run(&["upgrade-to-inactive"]), failed(refusal));
    assert_eq!(machine.run(&["has-boot-ever-succeeded"]), well(""));
    assert_eq!(machine.run(&["mark-successful-boot"]), well(""));
    assert_eq!(machine.run(&["has-boot-ever-succeeded"]), well("true\n"));
}

#[test]
fn it_says_what_it_does_not_know() {
    let machine = Machine::new(Banked::Two);
    std::fs::remove_file(machine.dir.path().join("signpost.json")).unwrap();
    let (code, stdout, stderr) = machine.run(&["status"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("signpost.json"), "{stderr}");
}

/// Asked by the agent, which needs root: `tests/run updates`.
#[cfg(feature = "scenarios")]
mod agent {
    use meshdog::update::banks::signpost::Signpost;
    use meshdog::update::banks::{Banks, Flags};

    use super::*;

    /// The agent goes to the namespaces of process 1, which may keep them to itself on the machine of this test; so this
    /// is done where the test itself is process 1.
    #[test]
    fn the_agent_sees_the_banks_and_turns_them() {
        let mut machine = Command::new("unshare");
        machine.args(["--fork", "--kill-child", "--pid", "--mount-proc", "--"]).arg(std::env::current_exe().unwrap());
        let output = machine.args(["--exact", "agent::as_process_1", "--ignored", "--nocapture"]).output().unwrap();
        let (code, stdout, stderr) = said(output);
        assert!(code == Some(0) && stdout.contains("1 passed"), "{stdout}{stderr}");
    }

    #[tokio::test]
    #[ignore = "is run by the_agent_sees_the_banks_and_turns_them"]
    async fn as_process_1() {
        assert_eq!(std::process::id(), 1);
        let flags = |priority, tries_left, successful| Flags { priority, tries_left, successful };
        let machine = Machine::new(Banked::Two);
        let signpost = Signpost::new(machine.signpost.clone());
        let factory = Banks { active: Bank::A, running: flags(1, 0, true), other: flags(0, 0, false) };
        assert_eq!(signpost.status().await.unwrap(), factory);
        let refused = signpost.roll_back().await.unwrap_err();
        assert!(!refused.is_unsupported() && refused.to_string().contains("is not valid to roll back to"), "{refused}");
        for command in ["mark-inactive-valid", "upgrade-to-inactive", "cancel-upgrade", "upgrade-to-inactive"] {
            assert_eq!(machine.run(&[command]), well(""));
        }
        signpost.roll_back().await.unwrap();
        let turned = signpost.status().await.unwrap();
        assert_eq!(turned, Banks { other: flags(2, 1, false), ..factory });
        assert_eq!(turned.next(), Some(Bank::B));

        let single = Machine::new(Banked::One);
        let signpost = Signpost::new(single.signpost.clone());
        assert!(signpost.status().await.unwrap_err().is_unsupported());
        assert!(signpost.roll_back().await.unwrap_err().is_unsupported());
        assert!(Signpost::new("/nowhere/signpost".into()).status().await.unwrap_err().is_unsupported());
    }
}
