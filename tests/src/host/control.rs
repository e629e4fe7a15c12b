//! How tests steer the host: a small HTTP API of its own.
//!
//! | route | body | what |
//! |---|---|---|
//! | GET /requests | | what was asked of all servers, oldest first |
//! | DELETE /requests | | forget it |
//! | PUT /presence | `"up"`, `"away"`, `"dead"`, `"hung"` | how the host API is there; holds when answered |
//! | PUT /faults | list of [`Fault`] | answers that go wrong |
//! | PUT /updates | [`Updates`] | what the updater finds, how long it takes, how it ends |
//! | PUT /applier | `"works"`, `"fails"`, `"missing"` | what becomes of applying settings |
//! | PUT /tasks | list of [`Task`] | what the introspection API shows, beside what Docker runs |
//! | PUT /instance | [`Instance`] | what the metadata service says |
//! | POST /boot | [`Reboot`] | a reboot, into what the disk boots or else a version: the update status is gone |
//! | GET /disk | | which bank runs and which boots next, both banks' flags and versions |
//! | GET /state | | reboots and applies so far |

use std::time::Duration;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bottlerocket_settings::Image;
use jiff::Timestamp;
use meshdog::update::banks::Bank;
use semver::Version;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::boot::Boot;
use super::imds::Instance;
use super::introspection::Task;
use super::serve::Presence;
use super::state::{Applier, Asked, Fault, Os, Shared};
use super::updates::{Ending, ForeignLock, Offer};
use crate::disk::{DiskError, grub};

/// A change to the updater; what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Updates {
    /// Versions on offer, newest first.
    pub available: Option<Vec<Version>>,
    /// The newest version that hosts should run; only together with `available`.
    pub max_version: Option<Version>,
    /// How long actions take.
    pub takes_ms: Option<u64>,
    /// How actions end: `"well"`, `"false-success"`, `"no-trace"`, `{"exit": [1, "stderr"]}`.
    pub ending: Option<Ends>,
    /// Who else holds the lock: `"none"`, `"shared"`, `"exclusive"`.
    pub foreign_lock: Option<Lock>,
}

/// See [`Ending`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named after those of the other")]
pub enum Ends {
    Well,
    Exit(i32, String),
    FalseSuccess,
    NoTrace,
}

/// See [`ForeignLock`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "named after those of the other")]
pub enum Lock {
    None,
    Shared,
    Exclusive,
}

/// A reboot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// The version that runs from now on, for a host without a disk; else the boot loader picks a bank.
    pub version: Option<Version>,
    /// Whether a boot from the disk gets as far as to be marked successful; it does unless told otherwise.
    #[serde(default = "yes")]
    pub succeeds: bool,
}

fn yes() -> bool {
    true
}

/// Answers until dropped.
pub(super) async fn serve(listener: TcpListener, state: Shared) {
    let router = Router::new()
        .route("/requests", get(requests).delete(forget))
        .route("/presence", put(presence))
        .route("/faults", put(faults))
        .route("/updates", put(updates))
        .route("/applier", put(applier))
        .route("/tasks", put(tasks))
        .route("/instance", put(instance))
        .route("/boot", post(boot))
        .route("/disk", get(disk))
        .route("/state", get(summary))
        .with_state(state);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the control API stopped");
    }
}

async fn requests(Extract(state): Extract<Shared>) -> Json<Vec<Asked>> {
    Json(state.lock().asked.iter().cloned().collect())
}

async fn forget(Extract(state): Extract<Shared>) {
    state.lock().asked.clear();
}

async fn presence(Extract(state): Extract<Shared>, Json(presence): Json<Presence>) -> Result<(), (StatusCode, String)> {
    state.present(presence).await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn faults(Extract(state): Extract<Shared>, Json(faults): Json<Vec<Fault>>) {
    state.lock().faults = faults;
}

async fn updates(Extract(state): Extract<Shared>, Json(change): Json<Updates>) {
    let updater = &mut state.lock().updater;
    if let Some(versions) = change.available {
        updater.offer = Offer { versions, max: change.max_version };
    }
    if let Some(takes) = change.takes_ms {
        updater.takes = Duration::from_millis(takes);
    }
    if let Some(ending) = change.ending {
        updater.ending = match ending {
            Ends::Well => Ending::Well,
            Ends::Exit(code, stderr) => Ending::Exit(code, stderr),
            Ends::FalseSuccess => Ending::FalseSuccess,
            Ends::NoTrace => Ending::NoTrace,
        };
    }
    if let Some(lock) = change.foreign_lock {
        updater.foreign = match lock {
            Lock::None => ForeignLock::None,
            Lock::Shared => ForeignLock::Shared,
            Lock::Exclusive => ForeignLock::Exclusive,
        };
    }
}

async fn applier(Extract(state): Extract<Shared>, Json(applier): Json<Applier>) {
    state.lock().applier = applier;
}

async fn tasks(Extract(state): Extract<Shared>, Json(tasks): Json<Vec<Task>>) {
    state.lock().tasks = tasks;
}

async fn instance(Extract(state): Extract<Shared>, Json(instance): Json<Instance>) {
    state.lock().instance = instance;
}

async fn boot(Extract(state): Extract<Shared>, Json(reboot): Json<Reboot>) -> Result<(), (StatusCode, String)> {
    let state = &mut *state.lock();
    match (&state.running, reboot.version) {
        (None, Some(version)) => {
            state.os = Os::new(&state.os.variant_id, &version.to_string());
            let running = Image::from(&state.os);
            state.updater.boot(running);
        }
        (Some(running), None) => {
            let boot = Boot { disk: running.disk.clone(), active: None, succeeds: reboot.succeeds };
            // What was done in time is on the disk.
            state.updater.settle(Timestamp::now());
            let (running, image) = boot.boot(&state.dir).map_err(|error| (StatusCode::CONFLICT, error.to_string()))?;
            state.os = Os::from(&image);
            state.updater.boot_from(image, Box::new(running.clone()));
            state.running = Some(running);
        }
        (None, None) => {
            return Err((StatusCode::BAD_REQUEST, "without a disk, say which version boots".to_owned()));
        }
        (Some(_), Some(_)) => {
            return Err((StatusCode::BAD_REQUEST, "which version boots is on the disk".to_owned()));
        }
    }
    Ok(())
}

async fn disk(Extract(state): Extract<Shared>) -> Result<Json<Value>, (StatusCode, String)> {
    let mut state = state.lock();
    state.updater.settle(Timestamp::now());
    let Some(running) = &state.running else {
        return Err((StatusCode::NOT_FOUND, "this host has no disk".to_owned()));
    };
    let broken = |error: DiskError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let disk = running.open().map_err(broken)?;
    Ok(Json(json!({
        "active": running.active,
        "next": grub::choose(&disk).map(|(bank, _)| bank),
        "ever_booted": disk.ever_booted(),
        "a": disk.look(Bank::A).map_err(broken)?,
        "b": disk.look(Bank::B).map_err(broken)?,
    })))
}

async fn summary(Extract(state): Extract<Shared>) -> Json<Value> {
    let state = state.lock();
    Json(json!({"reboots": state.reboots, "applied": state.applied, "transactions": state.store.list()}))
}
