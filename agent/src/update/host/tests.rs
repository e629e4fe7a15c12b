use bottlerocket_settings::{Command, CommandKind, Image, Partition};
use meshdog_tests::host::serve::Presence;
use meshdog_tests::host::state::{Applier, Asked, Fault};
use meshdog_tests::host::updates::{Ending, ForeignLock, Offer};
use meshdog_tests::host::{Options, SimHost};
use proptest::prelude::*;
use semver::Version;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::UpdateAction::{Activate, Deactivate, Prepare, Refresh};
use super::*;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);
/// Asks often; no deadline is met by accident.
const FAST: Paces = Paces {
    poll: Backoff::new(MS, Duration::from_millis(5)),
    locked: Backoff::new(MS, Duration::from_millis(5)).jittered().within(LONG),
    refresh: LONG,
    prepare: LONG,
    turn: LONG,
    told: MS,
};
/// Gives up soon.
const HASTY: Paces = Paces {
    locked: Backoff::new(MS, Duration::from_millis(5)).jittered().within(Duration::from_millis(50)),
    refresh: Duration::from_millis(50),
    prepare: Duration::from_millis(50),
    turn: Duration::from_millis(50),
    ..FAST
};
const OFFER: [&str; 3] = ["1.21.1", "1.21.0", "1.20.5"];

struct Bench {
    sim: SimHost,
    host: Host,
    _dir: TempDir,
}

async fn bench(paces: Paces) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.offer = offer(&OFFER);
    let sim = SimHost::start(options).await.unwrap();
    let client = Client::new(&sim.api).unwrap();
    Bench { sim, host: Host { client, paces }, _dir: dir }
}

fn offer(versions: &[&str]) -> Offer {
    Offer { versions: versions.iter().map(|version| version.parse().unwrap()).collect(), max: None }
}

impl Bench {
    /// Brings the update so far.
    async fn after(self, actions: &[UpdateAction]) -> Self {
        for action in actions {
            self.host.run(*action).await.unwrap();
        }
        self
    }

    fn begin(&self, action: UpdateAction) -> JoinHandle<Result<UpdateStatus, HostError>> {
        let host = self.host.clone();
        tokio::spawn(async move { host.run(action).await })
    }

    fn asked(&self, matches: impl Fn(&Asked) -> bool) -> usize {
        self.sim.state.lock().asked.iter().filter(|asked| matches(asked)).count()
    }

    /// Until so many actions were accepted.
    async fn accepted(&self, count: usize) {
        self.eventually(|bench| {
            bench.asked(|asked| asked.uri.starts_with("/actions/") && asked.status == 204) >= count
        })
        .await;
    }

    async fn eventually(&self, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                sleep(MS).await;
            }
        };
        timeout(LONG, wait).await.expect("in time");
    }

    fn ending(&self, ending: Ending) {
        self.sim.state.lock().updater.ending = ending;
    }

    fn fault(&self, fault: Fault) {
        self.sim.state.lock().faults.push(fault);
    }
}

fn fault(path: &str, status: u16, text: &str) -> Fault {
    let server = Default::default();
    Fault { server, path: path.to_owned(), status: Some(status), text: text.to_owned(), delay_ms: 0, times: None }
}

async fn ends(running: JoinHandle<Result<UpdateStatus, HostError>>) -> Result<UpdateStatus, HostError> {
    timeout(LONG, running).await.expect("in time").unwrap()
}

#[tokio::test]
async fn a_look_changes_nothing() {
    let bench = bench(FAST).await;
    let seen = bench.host.look().await.unwrap();
    let lock = Some("latest".to_owned());
    assert_eq!((seen.running, seen.updates, seen.version_lock), (Version::new(1, 20, 5), None, lock));
    assert_eq!(bench.asked(|asked| asked.method != "GET"), 0);

    let bench = bench.after(&[Refresh]).await;
    let updates = bench.host.look().await.unwrap().updates.unwrap();
    assert_eq!(
        (updates.update_state, updates.chosen_update.unwrap().version),
        (UpdateState::Available, "1.21.1".into())
    );
}

#[tokio::test]
async fn what_a_look_cannot_make_out() {
    let bench = bench(FAST).await;
    bench.sim.state.lock().updater.foreign = ForeignLock::Exclusive;
    assert!(bench.host.look().await.unwrap_err().is_busy());
    bench.fault(fault("/updates/status", 404, ""));
    assert!(bench.host.look().await.unwrap_err().is_unsupported(), "no such route");
    bench.sim.state.lock().os.version_id = "banana".to_owned();
    let error = bench.host.look().await.unwrap_err();
    assert_eq!(error.to_string(), "the host says that it runs version \"banana\"");
    bench.sim.state.present(Presence::Dead).await.unwrap();
    assert!(bench.host.look().await.unwrap_err().is_no_answer());
}

#[tokio::test]
async fn a_whole_update_and_back() {
    let bench = bench(FAST).await;
    bench.sim.state.lock().updater.takes = Duration::from_millis(20);
    for (action, state, staging_is_next) in [
        (Refresh, UpdateState::Available, None),
        (Refresh, UpdateState::Available, None),
        (Prepare, UpdateState::Staged, Some(false)),
        (Prepare, UpdateState::Staged, Some(false)),
        (Activate, UpdateState::Ready, Some(true)),
        (Refresh, UpdateState::Ready, Some(true)),
        (Deactivate, UpdateState::Staged, Some(false)),
        (Activate, UpdateState::Ready, Some(true)),
    ] {
        let status = bench.host.run(action).await.unwrap();
        assert_eq!(status.update_state, state, "{action:?}");
        assert_eq!(status.staging_partition.as_ref().map(|staging| staging.next_to_boot), staging_is_next);
        assert_eq!(status.most_recent_command.as_ref().unwrap().cmd_type, action.kind());
        assert_eq!(bench.host.look().await.unwrap().updates, Some(status));
    }
}

#[tokio::test]
async fn a_lock_is_waited_for_but_not_for_ever() {
    for lock in [ForeignLock::Shared, ForeignLock::Exclusive] {
        let patient = bench(FAST).await.after(&[Refresh]).await;
        patient.sim.state.lock().updater.foreign = lock;
        let running = patient.begin(Prepare);
        patient.eventually(|bench| bench.asked(|asked| asked.status == 423) > 3).await;
        patient.sim.state.lock().updater.foreign = ForeignLock::None;
        ends(running).await.unwrap();

        let hasty = bench(HASTY).await.after(&[Refresh]).await;
        hasty.sim.state.lock().updater.foreign = lock;
        let error = hasty.host.run(Prepare).await.unwrap_err();
        assert!(error.is_busy() && error.to_string().contains("423 Locked"), "{error}");
        // Whoever wants to know what is new is not kept waiting.
        patient.sim.state.lock().updater.foreign = lock;
        assert!(patient.host.run(Refresh).await.unwrap_err().is_busy());
    }
}

/// The end of somebody else's action, waited for, is not taken for the end of one's own.
#[tokio::test]
async fn the_same_action_by_somebody_else_is_not_ones_own() {
    let bench = bench(FAST).await.after(&[Refresh]).await;
    bench.sim.state.lock().updater.takes = Duration::from_millis(200);
    bench.host.client.act(Prepare).await.unwrap();
    let status = bench.host.run(Prepare).await.unwrap();
    let accepted = |asked: &Asked| asked.uri == "/actions/prepare-update" && asked.status == 204;
    assert_eq!(bench.asked(accepted), 2);
    let state = bench.sim.state.lock();
    let own = state.asked.iter().rfind(|asked| accepted(asked)).unwrap().at;
    let ended: jiff::Timestamp = status.most_recent_command.unwrap().timestamp.parse().unwrap();
    assert!(ended > own, "{ended} {own}");
}

#[tokio::test]
async fn a_long_prepare_is_followed_through_restarts_of_the_api() {
    for presence in [Presence::Away, Presence::Dead] {
        let bench = bench(FAST).await.after(&[Refresh]).await;
        bench.sim.state.lock().updater.takes = Duration::from_millis(200);
        let running = bench.begin(Prepare);
        bench.accepted(2).await;
        bench.sim.state.present(presence).await.unwrap();
        // Nothing but the clock can move meanwhile: it is asked again and again.
        tokio::time::pause();
        sleep(Duration::from_millis(50)).await;
        tokio::time::resume();
        bench.sim.state.present(Presence::Up).await.unwrap();
        assert_eq!(ends(running).await.unwrap().update_state, UpdateState::Staged);
    }
}

#[tokio::test]
async fn how_it_ended_may_stay_unknown() {
    // The API goes for good, while the updater works.
    let gone = bench(HASTY).await.after(&[Refresh]).await;
    gone.sim.state.lock().updater.takes = LONG;
    let poll = Backoff::new(MS, Duration::from_secs(1));
    let host = Host { paces: Paces { poll, prepare: LONG, ..HASTY }, ..gone.host.clone() };
    let running = tokio::spawn(async move { host.run(Prepare).await });
    gone.accepted(2).await;
    gone.sim.state.present(Presence::Dead).await.unwrap();
    tokio::time::pause();
    let error = running.await.unwrap().unwrap_err();
    tokio::time::resume();
    assert!(matches!(error, HostError::Unknown { action: Prepare, .. }) && error.is_no_answer(), "{error}");

    // It is at work still.
    let slow = bench(HASTY).await;
    slow.sim.state.lock().updater.takes = LONG;
    let error = slow.host.run(Refresh).await.unwrap_err();
    assert!(matches!(error, HostError::Unknown { action: Refresh, .. }) && error.is_busy(), "{error}");

    // Its status cannot be read: no matter for a while, and then too much.
    for (times, known) in [(MAX_ODD - 1, true), (u32::MAX, false)] {
        let bench = bench(FAST).await;
        bench.sim.state.lock().updater.takes = Duration::from_millis(50);
        if !known {
            bench.ending(Ending::NoTrace);
        }
        let running = bench.begin(Refresh);
        bench.accepted(1).await;
        bench.fault(Fault { times: Some(times), ..fault("/updates/status", 500, "Failed to parse update status") });
        match ends(running).await {
            Ok(_) => assert!(known),
            Err(error) => assert!(!known && matches!(error, HostError::Unknown { .. }) && !error.is_busy(), "{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_refused() {
    let idle = bench(FAST).await;
    for action in [Prepare, Activate, Deactivate] {
        let error = idle.host.run(action).await.unwrap_err();
        assert!(error.is_wrong_state(), "{action:?}: {error}");
        assert_eq!(idle.host.look().await.unwrap().updates.unwrap().update_state, UpdateState::Idle);
    }

    // The choice was lost while an image is staged.
    let staged = bench(FAST).await.after(&[Refresh, Prepare]).await;
    staged.sim.state.lock().updater.offer = offer(&[]);
    let staged = staged.after(&[Refresh]).await;
    let error = staged.host.run(Prepare).await.unwrap_err();
    assert!(error.is_gone() && !error.is_unsupported(), "{error}");
    staged.host.run(Activate).await.unwrap();

    let away = bench(FAST).await;
    away.sim.state.present(Presence::Away).await.unwrap();
    assert!(away.host.run(Refresh).await.unwrap_err().is_no_answer());
}

#[tokio::test]
async fn what_fails() {
    let bench = bench(FAST).await.after(&[Refresh]).await;
    let stderr = format!("Inactive partition /dev/nvme0n1\nis not available{}", "!".repeat(9999));
    bench.ending(Ending::Exit(1, stderr));
    let error = bench.host.run(Prepare).await.unwrap_err();
    let HostError::Failed { action: Prepare, exit_status: Some(1), stderr } = &error else { panic!("{error}") };
    assert!(stderr.starts_with("Inactive partition /dev/nvme0n1 is not available!!") && stderr.len() <= 512);
    assert!(error.to_string().starts_with("the host's updater failed to prepare (exit status 1): Inactive"), "{error}");

    bench.ending(Ending::Exit(9, String::new()));
    assert!(matches!(bench.host.run(Refresh).await, Err(HostError::Failed { exit_status: Some(9), .. })));
}

#[tokio::test]
async fn a_success_that_changed_nothing_is_none() {
    let bench = bench(FAST).await;
    for (action, left) in
        [(Prepare, UpdateState::Available), (Activate, UpdateState::Staged), (Deactivate, UpdateState::Ready)]
    {
        bench.ending(Ending::Well);
        bench.host.run(Refresh).await.unwrap();
        bench.ending(Ending::FalseSuccess);
        let error = bench.host.run(action).await.unwrap_err();
        assert!(matches!(&error, HostError::FalseSuccess { state, .. } if *state == left), "{action:?}: {error}");
        bench.ending(Ending::Well);
        bench.host.run(action).await.unwrap();
    }
    // Nothing can be told of a refresh: no state goes with it.
    bench.ending(Ending::FalseSuccess);
    bench.host.run(Refresh).await.unwrap();
    // The state goes with a prepare, but the image is the one from before.
    bench.ending(Ending::Well);
    bench.sim.state.lock().updater.offer = offer(&["1.22.0", "1.21.1"]);
    bench.host.run(Refresh).await.unwrap();
    bench.ending(Ending::FalseSuccess);
    assert!(matches!(bench.host.run(Prepare).await, Err(HostError::FalseSuccess { .. })));
    bench.ending(Ending::Well);
    assert_eq!(bench.host.run(Prepare).await.unwrap().staging_partition.unwrap().image.version, "1.22.0");
}

#[tokio::test]
async fn no_trace_has_a_deadline() {
    let bench = bench(HASTY).await;
    bench.ending(Ending::NoTrace);
    let error = bench.host.run(Refresh).await.unwrap_err();
    assert!(matches!(error, HostError::NoTrace { action: Refresh, .. }), "{error}");
    assert!(!error.is_busy() && !error.is_no_answer());
}

#[tokio::test]
async fn somebody_elses_end_is_noticed() {
    let bench = bench(FAST).await.after(&[Refresh]).await;
    bench.ending(Ending::NoTrace);
    let running = bench.begin(Prepare);
    bench.accepted(2).await;
    bench.ending(Ending::Well);
    // Refused as long as ours holds the lock.
    bench.eventually(|bench| bench.sim.state.lock().updater.status(jiff::Timestamp::now()).is_ok()).await;
    bench.host.client.act(Refresh).await.unwrap();
    let error = ends(running).await.unwrap_err();
    assert!(error.is_foreign(), "{error}");
    assert_eq!(
        error.to_string(),
        "somebody else drives the host's updater: it did refresh while prepare was waited for"
    );
}

#[tokio::test]
async fn hosts_without_an_updater() {
    for (status, text) in [
        (500, "Update dispatcher failed"),
        (500, "Unable to start the update dispatcher: No such file or directory (os error 2)"),
        (404, ""),
    ] {
        let bench = bench(FAST).await;
        bench.fault(fault("/actions/", status, text));
        let error = bench.host.run(Refresh).await.unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
    let bare = bench(FAST).await;
    bare.fault(fault("/updates/", 404, ""));
    assert!(bare.host.run(Refresh).await.unwrap_err().is_unsupported());
    assert_eq!(bare.asked(|asked| asked.method == "POST"), 0);

    // One that worked in this boot is only out of order.
    let broken = bench(FAST).await.after(&[Refresh]).await;
    broken.fault(fault("/actions/", 500, "Update dispatcher failed"));
    let error = broken.host.run(Prepare).await.unwrap_err();
    assert!(!error.is_unsupported() && error.to_string().ends_with("Update dispatcher failed"), "{error}");
}

#[tokio::test]
async fn a_reboot_is_accepted_refused_or_unanswered() {
    let bench = bench(FAST).await;
    bench.host.reboot().await.unwrap();
    assert_eq!(bench.sim.state.lock().reboots, 1);

    let text = "Failed to reboot, exit code: 1, stderr: Operation denied due to active block inhibitors\n";
    bench.fault(Fault { times: Some(1), ..fault("/actions/reboot", 500, text) });
    let error = bench.host.reboot().await.unwrap_err();
    assert!(!error.is_no_answer() && error.to_string().ends_with("active block inhibitors"), "{error}");

    // The host goes down before it has answered.
    bench.sim.state.lock().faults =
        vec![Fault { delay_ms: 600_000, times: Some(1), ..fault("/actions/reboot", 500, "") }];
    let host = bench.host.clone();
    let running = tokio::spawn(async move { host.reboot().await });
    bench.eventually(|bench| bench.sim.state.lock().faults[0].times == Some(0)).await;
    bench.sim.state.present(Presence::Dead).await.unwrap();
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
    // It is not there at all.
    assert!(bench.host.reboot().await.unwrap_err().is_no_answer());
}

#[tokio::test]
async fn a_version_lock_is_set_once() {
    let bench = bench(FAST).await;
    for lock in ["1.20.5", "1.20.5", "v1.20.5", "latest"] {
        bench.host.set_version_lock(lock).await.unwrap();
        assert_eq!(bench.host.look().await.unwrap().version_lock.as_deref(), Some(lock));
    }
    assert_eq!(bench.sim.state.lock().applied, vec![Some(vec![VERSION_LOCK.to_owned()]); 3]);
    let error = bench.host.set_version_lock("1.20").await.unwrap_err();
    assert!(error.to_string().contains("Invalid version string '1.20'"), "{error}");
    assert_eq!(bench.host.look().await.unwrap().version_lock.as_deref(), Some("latest"));
    assert!(bench.sim.state.lock().store.list().is_empty(), "nothing stays pending");
}

/// The host commits before it finds that it cannot apply: the lock would hold, and the updater never hear of it.
#[tokio::test]
async fn a_version_lock_that_was_not_applied_is_applied_again() {
    let bench = bench(FAST).await;
    bench.sim.state.lock().applier = Applier::Fails;
    let error = bench.host.set_version_lock("1.20.5").await.unwrap_err();
    assert!(error.to_string().contains("POST /tx/apply"), "{error}");
    let again = format!("/tx/apply?keys={VERSION_LOCK}");
    assert_eq!(bench.asked(|asked| asked.uri == again), 1);
}

#[tokio::test]
async fn a_version_lock_that_does_not_hold_is_told() {
    let bench = bench(FAST).await;
    bench.fault(fault("/settings", 200, r#"{"updates":{"version-lock":"9.9.9"}}"#));
    let error = bench.host.set_version_lock("latest").await.unwrap_err();
    let text = "settings.updates.version-lock is \"9.9.9\" after it was set to \"latest\"; somebody else sets it too";
    assert_eq!(error.to_string(), text);
}

fn image() -> impl Strategy<Value = Image> {
    let version = prop::sample::select(&OFFER[..]);
    version.prop_map(|version| Image { arch: "x86_64".into(), version: version.into(), variant: "aws-ecs-2".into() })
}

fn command() -> impl Strategy<Value = Command> {
    let word = |words: &'static [&'static str]| prop::sample::select(words).prop_map(str::to_owned);
    let kind = word(&["refresh", "prepare", "activate", "deactivate", "polish"]).prop_map(CommandKind::from);
    let outcome = word(&["Success", "Success", "Failed", "Unknown", "Maybe"]).prop_map(CommandOutcome::from);
    (kind, outcome, word(&["t1", "t2", "t3"]), any::<Option<i32>>(), any::<Option<String>>()).prop_map(
        |(cmd_type, cmd_status, timestamp, exit_status, stderr)| Command {
            cmd_type,
            cmd_status,
            timestamp,
            exit_status,
            stderr,
        },
    )
}

prop_compose! {
    fn status()(
        state in prop::sample::select(&["Idle", "Available", "Staged", "Ready", "Melting"][..]),
        chosen in prop::option::of(image()),
        staged in prop::option::of(image()),
        command in prop::option::of(command()),
    ) -> UpdateStatus {
        UpdateStatus {
            update_state: state.to_owned().into(),
            available_updates: Vec::new(),
            chosen_update: chosen,
            active_partition: None,
            staging_partition: staged.map(|image| Partition { image, next_to_boot: false }),
            most_recent_command: command,
            rest: Default::default(),
        }
    }
}

proptest! {
    /// Nothing is an end but another timestamp, and nothing is well but one's own success in the state it leads to.
    #[test]
    fn an_end_is_ones_own(
        before in prop::sample::select(&[None, Some("t1"), Some("t2")][..]),
        now in status(),
        action in prop::sample::select(&[Refresh, Prepare, Activate, Deactivate][..]),
    ) {
        let end = ended(before, &now, action);
        let command = now.most_recent_command.as_ref();
        let new = command.is_some_and(|command| before != Some(&command.timestamp));
        prop_assert_eq!(end.is_some(), new);
        let Some((end, command)) = end.zip(command) else { return Ok(()) };
        let own = command.cmd_type == action.kind();
        match end {
            Ok(()) => {
                prop_assert!(own && command.cmd_status == CommandOutcome::Success);
                match action {
                    Refresh => {}
                    Activate => prop_assert_eq!(now.update_state, UpdateState::Ready),
                    Prepare | Deactivate => prop_assert_eq!(now.update_state, UpdateState::Staged),
                }
            }
            Err(HostError::Foreign { found, .. }) => prop_assert!(!own && found == command.cmd_type),
            Err(HostError::Failed { stderr, .. }) => {
                prop_assert!(own && command.cmd_status != CommandOutcome::Success);
                prop_assert!(stderr.len() <= 512 && !stderr.contains(char::is_control));
            }
            Err(HostError::FalseSuccess { state, .. }) => {
                prop_assert!(own && action != Refresh && command.cmd_status == CommandOutcome::Success);
                prop_assert_eq!(state, now.update_state);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
