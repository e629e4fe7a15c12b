//! Lives of a host on a disk, as they were recorded on the real programs.

use bottlerocket_settings::{Client, UpdateAction, UpdateState};
use meshdog::update::banks::Flags;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::disk::layout::{Banked, create};
use crate::disk::signpost::Turn;
use crate::host::{Options, SimHost};

struct Bench {
    dir: TempDir,
    disk: PathBuf,
    host: SimHost,
    client: Client,
}

async fn bench(banked: Banked) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    let image = Image { arch: "aarch64".into(), version: "1.20.5".into(), variant: "aws-ecs-3".into() };
    create(&disk, banked, &image).unwrap();
    let mut options = Options::new(dir.path());
    options.offer.versions = vec!["1.21.1".parse().unwrap()];
    options.boot = Some(Boot { disk: disk.clone(), active: None, succeeds: true });
    let host = SimHost::start(options).await.unwrap();
    let client = Client::new(&host.api).unwrap();
    Bench { dir, disk, host, client }
}

impl Bench {
    async fn control(&self, method: Method, path: &str, body: Value) -> reqwest::Response {
        let request = reqwest::Client::new().request(method, format!("http://{}{path}", self.host.control));
        request.json(&body).send().await.unwrap()
    }

    async fn reboot(&self, body: Value) {
        let answer = self.control(Method::POST, "/boot", body).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }

    async fn look(&self) -> Value {
        self.control(Method::GET, "/disk", Value::Null).await.json().await.unwrap()
    }

    /// Runs signpost as a program beside the host's file would.
    fn signpost(&self, command: Command) -> Result<String, Failure> {
        run(command, &Running::find(&self.dir.path().join("signpost"), "").unwrap())
    }

    async fn act(&self, action: UpdateAction) -> UpdateState {
        self.client.act(action).await.unwrap();
        self.client.updates_status().await.unwrap().update_state
    }

    async fn upgrade(&self) {
        assert_eq!(self.act(UpdateAction::Refresh).await, UpdateState::Available);
        assert_eq!(self.act(UpdateAction::Prepare).await, UpdateState::Staged);
        assert_eq!(self.act(UpdateAction::Activate).await, UpdateState::Ready);
    }

    async fn version(&self) -> String {
        self.client.os().await.unwrap().version_id.unwrap()
    }
}

fn look(priority: u8, tries_left: u8, successful: bool, version: Option<&str>) -> Value {
    let flags = Flags { priority, tries_left, successful };
    let mut look = serde_json::to_value(flags).unwrap();
    look["version"] = json!(version);
    look["torn"] = json!(false);
    look
}

const OLD: Option<&str> = Some("1.20.5");
const NEW: Option<&str> = Some("1.21.1");

#[tokio::test]
async fn what_runs_is_what_the_disk_holds() {
    let bench = bench(Banked::Two).await;
    let os = bench.client.os().await.unwrap();
    assert_eq!(os.variant_id.as_deref(), Some("aws-ecs-3"));
    assert_eq!((os.version_id.as_deref(), os.arch.as_deref()), (OLD, Some("aarch64")));
    let factory = json!({
        "active": "A",
        "next": "A",
        "ever_booted": true,
        "a": look(1, 0, true, OLD),
        "b": look(0, 0, false, None),
    });
    assert_eq!(bench.look().await, factory);
}

#[tokio::test]
async fn a_good_upgrade_and_the_way_back() {
    let bench = bench(Banked::Two).await;
    bench.upgrade().await;
    let ready = bench.look().await;
    assert_eq!((&ready["active"], &ready["next"]), (&json!("A"), &json!("B")));
    assert_eq!(ready["b"], look(2, 1, false, NEW));

    bench.reboot(json!({})).await;
    assert_eq!(bench.version().await, "1.21.1");
    assert!(bench.client.updates_status().await.is_err(), "the status is gone");
    let booted = bench.look().await;
    assert_eq!((&booted["active"], &booted["next"]), (&json!("B"), &json!("B")));
    assert_eq!((&booted["a"], &booted["b"]), (&look(1, 0, true, OLD), &look(2, 0, true, NEW)));
    assert_eq!(bench.act(UpdateAction::Refresh).await, UpdateState::Idle);

    bench.signpost(Command::Turn(Turn::RollBack)).unwrap();
    let turned = bench.client.updates_status().await.unwrap().active_partition.unwrap();
    assert!(turned.next_to_boot, "the updater does not notice");
    bench.reboot(json!({})).await;
    assert_eq!(bench.version().await, "1.20.5");
    let back = bench.look().await;
    assert_eq!((&back["a"], &back["b"]), (&look(2, 0, true, OLD), &look(1, 0, true, NEW)));
    // Updates go to the other bank again, and over what it holds.
    assert_eq!(bench.act(UpdateAction::Refresh).await, UpdateState::Available);
    assert_eq!(bench.act(UpdateAction::Prepare).await, UpdateState::Staged);
    assert_eq!(bench.look().await["b"], look(0, 1, false, NEW));
}

#[tokio::test]
async fn a_boot_that_fails_is_followed_by_one_of_the_old_bank() {
    let bench = bench(Banked::Two).await;
    bench.upgrade().await;
    bench.reboot(json!({"succeeds": false})).await;
    assert_eq!(bench.version().await, "1.21.1");
    assert_eq!(bench.look().await["b"], look(2, 0, false, NEW));
    let status = bench.signpost(Command::Status).unwrap();
    assert!(status.ends_with("Active:  Set B\nNext:    Set A\n"), "{status}");

    bench.reboot(json!({})).await;
    assert_eq!(bench.version().await, "1.20.5");
    let fallen = bench.look().await;
    assert_eq!((&fallen["a"], &fallen["b"]), (&look(1, 0, true, OLD), &look(2, 0, false, NEW)));
    assert!(bench.signpost(Command::Turn(Turn::RollBack)).is_err());
}

#[tokio::test]
async fn what_was_begun_and_not_done_is_lost_with_the_boot() {
    let bench = bench(Banked::Two).await;
    bench.act(UpdateAction::Refresh).await;
    bench.control(Method::PUT, "/updates", json!({"takes_ms": 3_600_000})).await;
    bench.client.act(UpdateAction::Prepare).await.unwrap();
    bench.reboot(json!({})).await;
    assert_eq!(bench.look().await["b"], look(0, 0, false, None));
    // What was done in time is there even if nobody asked.
    bench.control(Method::PUT, "/updates", json!({"takes_ms": 0})).await;
    bench.act(UpdateAction::Refresh).await;
    bench.client.act(UpdateAction::Prepare).await.unwrap();
    bench.reboot(json!({})).await;
    assert_eq!(bench.look().await["b"], look(0, 1, false, NEW));
}

#[tokio::test]
async fn a_host_started_again_goes_on_from_its_disk() {
    let bench = bench(Banked::Two).await;
    bench.upgrade().await;
    drop(bench.host);
    for (active, succeeds, version) in
        [(None, false, "1.21.1"), (Some(Bank::B), true, "1.21.1"), (Some(Bank::A), true, "1.20.5")]
    {
        let mut options = Options::new(bench.dir.path());
        options.boot = Some(Boot { disk: bench.disk.clone(), active, succeeds });
        let host = SimHost::start(options).await.unwrap();
        assert_eq!(Client::new(&host.api).unwrap().os().await.unwrap().version_id.as_deref(), Some(version));
        let disk = Disk::open(&bench.disk, "").unwrap();
        let b = disk.flags(Bank::B).unwrap();
        assert_eq!(b.successful, active.is_some(), "marked once the boot succeeded");
        assert_eq!(b.tries_left, 0);
        host.stop().await.unwrap();
    }
}

#[tokio::test]
async fn one_bank_takes_no_updates() {
    let bench = bench(Banked::One).await;
    assert_eq!(bench.look().await["b"], Value::Null);
    assert_eq!(bench.act(UpdateAction::Refresh).await, UpdateState::Available);
    assert_eq!(bench.act(UpdateAction::Prepare).await, UpdateState::Available);
    let stderr = bench.client.updates_status().await.unwrap().most_recent_command.unwrap().stderr;
    assert_eq!(stderr.as_deref(), Some("Inactive partition /dev/nvme0n1 is not available\n"));
    bench.reboot(json!({})).await;
    assert_eq!(bench.version().await, "1.20.5");
}

#[tokio::test]
async fn without_a_table_the_updater_fails() {
    let bench = bench(Banked::Two).await;
    let whole = std::fs::read(&bench.disk).unwrap();
    std::fs::write(&bench.disk, vec![0; whole.len()]).unwrap();
    let raw = reqwest::Client::builder().unix_socket(bench.host.api.as_path()).no_proxy().build().unwrap();
    let answer = raw.post("http://localhost/actions/refresh-updates").send().await.unwrap();
    assert_eq!(
        (answer.status(), answer.text().await.unwrap().as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "Update dispatcher failed")
    );
    assert_eq!(bench.control(Method::GET, "/disk", Value::Null).await.status(), 500);
    let answer = bench.control(Method::POST, "/boot", json!({})).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(bench.version().await, "1.20.5", "what runs goes on");
}

#[tokio::test]
async fn what_boots_is_said_by_the_disk_or_else_by_the_test() {
    let bench = bench(Banked::Two).await;
    let version = json!({"version": "1.21.1"});
    assert_eq!(bench.control(Method::POST, "/boot", version.clone()).await.status(), StatusCode::BAD_REQUEST);

    let dir = tempfile::tempdir().unwrap();
    let host = SimHost::start(Options::new(dir.path())).await.unwrap();
    let client = Client::new(&host.api).unwrap();
    let diskless = Bench { dir, disk: PathBuf::new(), host, client };
    assert_eq!(diskless.control(Method::POST, "/boot", json!({})).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(diskless.control(Method::GET, "/disk", Value::Null).await.status(), StatusCode::NOT_FOUND);
    diskless.reboot(version).await;
    assert_eq!(diskless.version().await, "1.21.1");
}
