//! The program `simhost`: starts, says where it is, goes in order.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bottlerocket_settings::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A host that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts it; what it says when it is ready.
    fn start(dir: &Path, further: &[&str]) -> (Self, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simhost"));
        let child = command.arg("--dir").arg(dir).args(further).stdout(Stdio::piped()).spawn().unwrap();
        let mut program = Self(child);
        let mut line = String::new();
        BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (program, serde_json::from_str(&line).unwrap())
    }

    /// Its exit code after a signal.
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

#[tokio::test]
async fn from_the_ready_line_to_the_last_signal() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("user-data.toml");
    std::fs::write(&settings, "[settings.ecs]\ncluster = \"prod\"\n").unwrap();
    let (child, ready) = Program::start(dir.path(), &["--settings", settings.to_str().unwrap(), "--version", "1.20.4"]);
    let socket = dir.path().join("run/api.sock");
    assert_eq!((&ready["ready"], ready["api"].as_str()), (&Value::Bool(true), socket.to_str()));

    let client = Client::new(&socket).unwrap();
    assert_eq!(client.os().await.unwrap().version_id.as_deref(), Some("1.20.4"));
    assert_eq!(client.settings().await.unwrap().ecs.unwrap().cluster.as_deref(), Some("prod"));
    let metadata = reqwest::get(format!("{}/v1/metadata", ready["ecs"].as_str().unwrap())).await.unwrap();
    assert_eq!(metadata.json::<Value>().await.unwrap()["Cluster"], "prod");

    assert_eq!(child.stop(Signal::SIGTERM), Some(0));
    assert!(!socket.exists());

    // Killed, it leaves its socket; the next one starts over it.
    let (child, _) = Program::start(dir.path(), &[]);
    assert_eq!(child.stop(Signal::SIGKILL), None);
    assert!(socket.exists());
    let (child, _) = Program::start(dir.path(), &[]);
    client.os().await.unwrap();
    assert_eq!(child.stop(Signal::SIGINT), Some(0));
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("user-data.toml");
    std::fs::write(&settings, "[settings").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_simhost"))
        .args(["--dir", dir.path().to_str().unwrap(), "--settings", settings.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("user-data.toml"));
}

#[tokio::test]
async fn with_a_disk_it_has_a_signpost() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, signpost) = (dir.path().join("disk.img"), dir.path().join("signpost"));
    let status = || {
        let output = Command::new(&signpost).arg("status").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let arguments = ["--disk", disk.to_str().unwrap(), "--version", "1.21.1"];
    let (child, _) = Program::start(dir.path(), &arguments);
    let client = Client::new(dir.path().join("run/api.sock")).unwrap();
    assert_eq!(client.os().await.unwrap().version_id.as_deref(), Some("1.21.1"));
    assert!(status().ends_with("Active:  Set A\nNext:    Set A\n"), "{}", status());
    assert_eq!(child.stop(Signal::SIGTERM), Some(0));

    // The disk, once made, says what runs; and it is said which bank does.
    let (child, ready) =
        Program::start(dir.path(), &["--disk", disk.to_str().unwrap(), "--active", "A", "--boot-fails"]);
    assert_eq!(client.os().await.unwrap().version_id.as_deref(), Some("1.21.1"));
    let seen: Value =
        reqwest::get(format!("{}/disk", ready["control"].as_str().unwrap())).await.unwrap().json().await.unwrap();
    assert_eq!((&seen["active"], &seen["a"]["version"]), (&Value::from("A"), &Value::from("1.21.1")));
    assert_eq!(child.stop(Signal::SIGTERM), Some(0));

    let output = Command::new(env!("CARGO_BIN_EXE_simhost"))
        .args(["--dir", dir.path().to_str().unwrap(), "--disk", disk.to_str().unwrap(), "--active", "B"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("bank B holds no whole image"));
}
