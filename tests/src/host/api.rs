//! The host API's routes, with a real one's answers to the letter where an agent could notice.
//!
//! Sources: core-kit `sources/api/apiserver/src/server/{mod,error}.rs`. Errors are plain text without a content type;
//! what refuses to be read has one. A wrong method, HEAD or a trailing slash is a 404 without a body.

use std::borrow::Cow;
use std::process::Stdio;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use bottlerocket_settings::UpdateAction;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::serve::{query, respond};
use super::state::{Applier, Shared, State};
use super::{model, store, updates};

/// The largest body of a change, in bytes.
const MAX_CHANGE: usize = 2 * 1024 * 1024;

const JSON: Option<&str> = Some("application/json");
const TEXT: Option<&str> = Some("text/plain; charset=utf-8");

type Answer = Response<Body>;

/// An answer that is an error.
struct Refused {
    status: u16,
    content_type: Option<&'static str>,
    text: Cow<'static, str>,
}

impl Refused {
    fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, content_type: None, text: text.into() }
    }

    /// One from what reads requests, which names its content type.
    fn unread(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, content_type: TEXT, text: text.into() }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        respond(refused.status, refused.content_type, refused.text.into_owned())
    }
}

/// Answers one request.
pub(super) async fn answer(request: &Request<Bytes>, state: &Shared) -> Answer {
    if (request.method().as_str(), request.uri().path()) == ("POST", "/actions/reboot") {
        return reboot(state).await;
    }
    route(request, &mut state.lock()).unwrap_or_else(Answer::from)
}

fn route(request: &Request<Bytes>, state: &mut State) -> Result<Answer, Refused> {
    let query = query(request);
    let given = |name: &str| query.get(name).map(String::as_str);
    let tx = given("tx").unwrap_or("default");
    match (request.method().as_str(), request.uri().path()) {
        ("GET", "/") => whole(state, given("prefix")),
        ("GET", "/settings") => match (given("keys"), given("prefix")) {
            (Some(keys), _) => Ok(json_of(&state.store.by_keys(keys).map_err(refuse)?)),
            (None, Some(prefix)) => Ok(json_of(&state.store.by_prefix(prefix).map_err(refuse)?)),
            (None, None) => Ok(json_of(&state.store.all().map_err(refuse)?)),
        },
        ("PATCH", "/settings") => patch(request, tx, state),
        ("GET", "/os") => os(state, given("prefix")),
        ("GET", "/tx") => Ok(json_of(&state.store.pending(tx))),
        ("GET", "/tx/list") => Ok(json_of(&state.store.list())),
        ("DELETE", "/tx") => Ok(json_of(&state.store.delete(tx))),
        ("POST", "/tx/commit") => Ok(json_of(&state.commit(tx).map_err(refuse)?)),
        ("POST", "/tx/apply") => {
            let keys = match given("keys") {
                Some("") => return Err(Refused::new(400, "Input 'keys' cannot be empty")),
                Some(keys) => Some(keys.split(',').map(str::to_owned).collect()),
                None => None,
            };
            apply(state, keys)?;
            Ok(respond(204, None, Body::empty()))
        }
        ("POST", "/tx/commit_and_apply") => {
            let changed = state.commit(tx).map_err(refuse)?;
            apply(state, Some(changed.clone()))?;
            Ok(json_of(&changed))
        }
        ("GET", "/metadata/setting-generators" | "/services" | "/configuration-files") => Ok(json_of(&json!({}))),
        ("GET", "/metadata/affected-services" | "/metadata/templates") => match given("keys") {
            None => Err(Refused::new(400, "Missing required input 'keys'")),
            Some("") => Err(Refused::new(400, "Input 'keys' cannot be empty")),
            Some(_) => Ok(json_of(&json!({}))),
        },
        ("GET", "/updates/status") => match state.updater.status(Timestamp::now()) {
            Ok(status) => Ok(json_of(status)),
            Err(updates::Refusal::Busy) => Err(Refused::new(423, STATUS_LOCKED)),
            Err(refusal) => Err(refuse_update(refusal)),
        },
        ("POST", "/actions/refresh-updates") => act(state, UpdateAction::Refresh),
        ("POST", "/actions/prepare-update") => act(state, UpdateAction::Prepare),
        ("POST", "/actions/activate-update") => act(state, UpdateAction::Activate),
        ("POST", "/actions/deactivate-update") => act(state, UpdateAction::Deactivate),
        _ => Err(Refused::new(404, "")),
    }
}

const STATUS_LOCKED: &str =
    "Unable to obtain shared lock for reading update status: Resource temporarily unavailable (os error 11)";

fn json_of(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => respond(200, JSON, body),
        Err(error) => respond(500, None, error.to_string()),
    }
}

fn refuse(refusal: store::Refusal) -> Refused {
    match refusal {
        store::Refusal::Bad(text) => Refused::new(400, text),
        store::Refusal::Missing(text) => Refused::new(404, text),
        store::Refusal::NothingPending => Refused::new(422, "Tried to commit with no pending changes"),
        store::Refusal::Broken(text) => Refused::new(500, text),
    }
}

fn refuse_update(refusal: updates::Refusal) -> Refused {
    let (status, text) = match refusal {
        updates::Refusal::Busy => (423, "Update lock held"),
        updates::Refusal::Uninitialized => (404, "Update status is uninitialized, refresh-updates to initialize it"),
        updates::Refusal::WrongState => (409, "Update action not allowed according to update state"),
        updates::Refusal::NothingChosen => (404, "Previously chosen Update no longer exists"),
        updates::Refusal::NothingStaged => (404, "No update image applied to staging partition"),
        updates::Refusal::Broken => (500, "Update dispatcher failed"),
    };
    Refused::new(status, text)
}

fn act(state: &mut State, action: UpdateAction) -> Result<Answer, Refused> {
    let lock = state.version_lock();
    state.updater.act(action, &lock, Timestamp::now()).map_err(refuse_update)?;
    Ok(respond(204, None, Body::empty()))
}

fn patch(request: &Request<Bytes>, tx: &str, state: &mut State) -> Result<Answer, Refused> {
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next() != Some("application/json") {
        return Err(Refused::unread(400, "Content type error"));
    }
    let size = request.body().len();
    if size > MAX_CHANGE {
        let text = format!("JSON payload ({size} bytes) is larger than allowed (limit: {MAX_CHANGE} bytes).");
        return Err(Refused::unread(413, text));
    }
    match model::read(request.body()) {
        Ok(Value::Object(change)) => {
            state.store.stage(tx, change).map_err(refuse)?;
            Ok(respond(204, None, Body::empty()))
        }
        Ok(other) => Err(Refused::unread(400, format!("Json deserialize error: {other} is no table"))),
        Err(model::Refusal::Shape(text)) => Err(Refused::unread(400, text)),
        Err(model::Refusal::Key(text)) => Err(Refused::new(500, text)),
    }
}

/// What holds is applied in the background; whether it could be begun is all that anyone is told.
fn apply(state: &mut State, names: Option<Vec<String>>) -> Result<(), Refused> {
    match state.applier {
        Applier::Works => {
            state.applied.push(names);
            Ok(())
        }
        Applier::Fails => Err(Refused::new(500, "Config applier was unable to fork child, returned 1")),
        Applier::Missing => {
            Err(Refused::new(500, "Unable to start config applier: No such file or directory (os error 2) "))
        }
    }
}

fn os(state: &State, prefix: Option<&str>) -> Result<Answer, Refused> {
    let fields = match serde_json::to_value(&state.os) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let prefix = match prefix {
        None => return Ok(json_of(&fields)),
        Some("") => return Err(Refused::new(400, "Input 'prefix' cannot be empty")),
        Some(prefix) if prefix.starts_with("os") => prefix.to_owned(),
        Some(prefix) => format!("os.{prefix}"),
    };
    let matching = fields.into_iter().filter(|(name, _)| format!("os.{name}").starts_with(&prefix));
    Ok(json_of(&matching.collect::<Map<_, _>>()))
}

fn whole(state: &State, prefix: Option<&str>) -> Result<Answer, Refused> {
    let os = serde_json::to_value(&state.os).unwrap_or_default();
    match prefix {
        None => {
            let settings = state.store.all().map_err(refuse)?;
            Ok(json_of(&json!({"configuration-files": {}, "os": os, "services": {}, "settings": settings})))
        }
        Some("") => Err(Refused::new(400, "Input 'prefix' cannot be empty")),
        // Here a prefix is one of full names, so that a part of the word `settings` matches them all.
        Some(prefix) if "settings".starts_with(prefix) => {
            Ok(json_of(&json!({"settings": state.store.all().map_err(refuse)?})))
        }
        Some(prefix) if prefix.starts_with("settings.") => {
            let settings = state.store.by_prefix(prefix).map_err(refuse)?;
            let empty = settings.as_object().is_none_or(Map::is_empty);
            Ok(json_of(&if empty { json!({}) } else { json!({"settings": settings}) }))
        }
        Some("os" | "os.") => Ok(json_of(&json!({"os": os}))),
        Some(_) => Ok(json_of(&json!({}))),
    }
}

/// Notes the reboot in the file `reboots` and runs what stands for it.
async fn reboot(state: &Shared) -> Answer {
    let (program, note) = {
        let state = state.lock();
        (state.reboot.clone(), state.dir.join("reboots"))
    };
    if let Some(program) = program {
        match Command::new(program).stdin(Stdio::null()).output().await {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let code = output.status.code().unwrap_or(-1);
                let stderr = String::from_utf8_lossy(&output.stderr);
                return respond(500, None, format!("Failed to reboot, exit code: {code}, stderr: {stderr}"));
            }
            Err(error) => return respond(500, None, format!("Unable to start shutdown: {error}")),
        }
    }
    let mut state = state.lock();
    state.reboots += 1;
    let line = format!("{}\n", Timestamp::now());
    let written = std::fs::OpenOptions::new().create(true).append(true).open(note);
    match written.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes())) {
        Ok(()) => respond(204, None, Body::empty()),
        Err(error) => respond(500, None, format!("Unable to start shutdown: {error}")),
    }
}
