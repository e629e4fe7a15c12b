//! What people want of the node's update: read off a request, carried out, answered.
//!
//! | request | what is wanted |
//! |---|---|
//! | POST /update/hold?why=TEXT | no update begins; `why` may be left out |
//! | POST /update/resume | updates go on |
//! | POST /update/check | updates are looked for now |
//! | POST /update/allow?version=VERSION | a refused version may be taken again |
//!
//! The answer to a command that was carried out is the update's status after it. 400: it makes no sense; 409: nobody
//! looks after updates here; 503: it was not carried out, or not yet; 500: it was, and a restart will forget it.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode, Uri};
use semver::Version;
use tokio::time::timeout;
use url::form_urlencoded;

use super::answer::{HttpAnswer, json, not_allowed, text};
use super::api::Api;
use crate::telemetry::status;
use crate::update::CommandError;
use crate::update::machine::{Command, Phase};

/// How long a command may take: less than its connection lives. It is written to the disk, and may wait for one before.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest reason for a hold, in characters.
const MAX_WHY: usize = 200;
/// The longest version that is read, in bytes.
const MAX_VERSION: usize = 100;
/// Why updates are held where nobody says.
const BY_HAND: &str = "by hand";

/// The command that a path stands for, with its query still to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandPath {
    Hold,
    Resume,
    Check,
    Allow,
}

impl CommandPath {
    /// The command of this path, if it is one's.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path.strip_prefix("/update/")? {
            "hold" => Some(Self::Hold),
            "resume" => Some(Self::Resume),
            "check" => Some(Self::Check),
            "allow" => Some(Self::Allow),
            _ => None,
        }
    }

    /// What the update is to be told; else what is wrong with the request.
    fn command(self, query: &str) -> Result<Command, String> {
        let value = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == wanted).map(|(_, value)| value)
        };
        Ok(match self {
            Self::Hold => Command::Hold(reason(value("why").as_deref().unwrap_or(BY_HAND))?),
            Self::Resume => Command::Resume,
            Self::Check => Command::Check,
            Self::Allow => Command::Allow(version(value("version").as_deref().unwrap_or_default())?),
        })
    }

    /// Carries it out.
    pub(super) async fn answer(self, api: &Api, method: &Method, uri: &Uri) -> HttpAnswer {
        if method != Method::POST {
            return not_allowed("POST");
        }
        let command = match self.command(uri.query().unwrap_or_default()) {
            Ok(command) => command,
            Err(why) => return text(StatusCode::BAD_REQUEST, why + "\n"),
        };
        let now = api.inputs().snapshot();
        if matches!(now.update.phase(), Phase::Off | Phase::Unsupported) {
            let now = status::update(&now);
            let why = format!("nobody looks after this node's updates ({}): {}\n", now.phase, now.why);
            return text(StatusCode::CONFLICT, why);
        }
        match timeout(PATIENCE, api.update().command(command)).await {
            Ok(Ok(())) => json(&status::update(&api.inputs().snapshot())),
            Ok(Err(error)) => text(code(&error), format!("{error}\n")),
            Err(_) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "it waits to be carried out; look at the update's status\n")
            }
        }
    }
}

fn code(error: &CommandError) -> StatusCode {
    match error {
        CommandError::NotRecorded(_) => StatusCode::INTERNAL_SERVER_ERROR,
        CommandError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Why updates are held, as it may be written.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn reason(why: &str) -> Result<Arc<str>, String> {
    let why = why.trim();
    if why.is_empty() || why.chars().count() > MAX_WHY || why.chars().any(char::is_control) {
        return Err(format!("write why as 1 to {MAX_WHY} printable characters"));
    }
    Ok(why.into())
}

/// A version of the OS, with or without a `v` in front.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn version(text: &str) -> Result<Version, String> {
    let advice = "write a version such as 1.50.0";
    if text.len() > MAX_VERSION {
        return Err(format!("this is too long for a version; {advice}"));
    }
    Version::parse(text.strip_prefix('v').unwrap_or(text))
        .map_err(|error| format!("{text:?} is no version ({error}); {advice}"))
}

#[cfg(test)]
mod tests;
