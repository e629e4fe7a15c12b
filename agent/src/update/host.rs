//! The host's own updater, driven through the Bottlerocket API: each action asked for, and followed to its end.
//!
//! Owns how the updater answers: it takes an action and says so at once, is locked while it works (423), and leaves the
//! end of it in its status, or none at all. Receives an action, gives back the status that it led to. Never decides
//! what to do next, and writes nothing to the disk.
//!
//! Source: core-kit `sources/api/thar-be-updates/src/{main,status,error}.rs`; its words and oddities were recorded from
//! the real programs. `sources/api/apiclient/src/update.rs` follows an action in the same way.

mod errors;

use std::time::Duration;

use backon::Retryable;
use bottlerocket_settings::{Client, CommandOutcome, Settings, UpdateAction, UpdateState, UpdateStatus, Updates};
use semver::Version;
use tokio::time::{Instant, sleep};

pub use errors::HostError;

use crate::clients::backoff::Backoff;

const VERSION_LOCK: &str = "settings.updates.version-lock";
/// Answers in a row that say nothing of an action under way before it is given up.
const MAX_ODD: u32 = 5;

/// The updater of this host. Cheap to clone. One owner: the host itself knows no owners, and whoever else drives its
/// updater is noticed where that shows ([`HostError::Foreign`]).
#[derive(Debug, Clone)]
pub struct Host {
    client: Client,
    paces: Paces,
}

/// What a look at the host shows.
#[derive(Debug, Clone, PartialEq)]
pub struct HostObservation {
    /// The version that runs.
    pub running: Version,
    /// How far the host's update is; `None` until it was asked for something in this boot.
    pub updates: Option<UpdateStatus>,
    /// `settings.updates.version-lock`, as it was written.
    pub version_lock: Option<String>,
    /// `settings.updates.seed`: this host's place in the waves, 0 to 2047 unless somebody wrote another.
    pub seed: Option<u32>,
}

/// How often is asked, and for how long.
#[derive(Debug, Clone, Copy)]
struct Paces {
    /// Between two looks at an action under way.
    poll: Backoff,
    /// Before an action is asked for again while somebody holds the updater's lock.
    locked: Backoff,
    /// A refresh asks a server.
    refresh: Duration,
    /// A prepare fetches an image of hundreds of megabytes, and writes it.
    prepare: Duration,
    /// Activate and deactivate write some bits.
    turn: Duration,
    /// How often a long wait is told of.
    told: Duration,
}

const PACES: Paces = Paces {
    poll: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
    locked: Backoff::new(Duration::from_millis(250), Duration::from_secs(10))
        .jittered()
        .within(Duration::from_secs(120)),
    refresh: Duration::from_secs(120),
    prepare: Duration::from_secs(1800),
    turn: Duration::from_secs(60),
    told: Duration::from_secs(60),
};

impl Paces {
    fn deadline(&self, action: UpdateAction) -> Duration {
        match action {
            UpdateAction::Refresh => self.refresh,
            UpdateAction::Prepare => self.prepare,
            UpdateAction::Activate | UpdateAction::Deactivate => self.turn,
        }
    }
}

impl Host {
    /// The host behind this client. Nothing is asked yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, paces: PACES }
    }

    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// See [`HostError::is_busy`], [`HostError::is_unsupported`] and [`HostError::is_no_answer`]; else the host's own.
    pub async fn look(&self) -> Result<HostObservation, HostError> {
        let found = self.client.os().await?.version_id.unwrap_or_default();
        let running = found.parse().map_err(|source| HostError::Version { found, source })?;
        let updates = match self.client.updates_status().await {
            Ok(status) => Some(status),
            Err(error) if error.is_uninitialized() => None,
            Err(error) if error.is_unknown_route() => return Err(HostError::Unsupported(error)),
            Err(error) => return Err(error.into()),
        };
        let Updates { version_lock, seed, .. } = self.settings().await?;
        Ok(HostObservation { running, updates, version_lock, seed })
    }

    /// Has the updater do something, and waits for the end of it: for two minutes while somebody else holds its lock
    /// (a refresh does not wait for that: it is asked for again anyway, and until then people see why), then, with the
    /// action under way, for as long as such a one may take. Dropped half-way, the action goes on.
    ///
    /// # Errors
    /// Any [`HostError`]. Where it [was under way](HostError::is_busy) still, or there was
    /// [no answer](HostError::is_no_answer), it may yet be done: look again.
    pub async fn run(&self, action: UpdateAction) -> Result<UpdateStatus, HostError> {
        let mut wait = Wait::new(action, self.paces.told);
        let begin = || self.begin(action);
        let before = begin
            .retry(self.paces.locked)
            .when(|error| action != UpdateAction::Refresh && error.is_busy())
            .notify(|_, _| wait.tell("the updater's lock"))
            .await?;
        self.follow(action, before.as_deref()).await
    }

    /// Reboots the host. A connection that breaks off before the answer counts as accepted.
    ///
    /// # Errors
    /// The host refused, for instance because something inhibits reboots; or there was
    /// [no answer](HostError::is_no_answer).
    pub async fn reboot(&self) -> Result<(), HostError> {
        match self.client.reboot().await {
            Err(error) if error.is_broken_off() => Ok(()),
            answer => Ok(answer?),
        }
    }

    /// Sets `settings.updates.version-lock`: `latest`, or the one version that the host's updater may choose. Changes
    /// nothing where it is so already.
    ///
    /// # Errors
    /// The host refused, or it has another lock afterwards.
    pub async fn set_version_lock(&self, lock: &str) -> Result<(), HostError> {
        let updates = Updates { version_lock: Some(lock.to_owned()), ..Updates::default() };
        let change = Settings { updates: Some(updates), ..Settings::default() };
        let changed = self.client.change(&change).await;
        let found = self.settings().await?.version_lock;
        match changed {
            Ok(_) if found.as_deref() == Some(lock) => Ok(()),
            Ok(_) => Err(HostError::Lock { wanted: lock.to_owned(), found }),
            // The lock holds, and could not be handed to the updater, which would go by the one before.
            Err(error) if error.status().is_some_and(|s| s.is_server_error()) && found.as_deref() == Some(lock) => {
                Ok(self.client.apply(&[VERSION_LOCK]).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn settings(&self) -> Result<Updates, HostError> {
        Ok(self.client.settings_by_prefix("settings.updates").await?.updates.unwrap_or_default())
    }

    /// Asks for an action. Gives back by what its end is known: the timestamp of the command before. Asked each time
    /// anew, since the one that was waited for leaves one too.
    async fn begin(&self, action: UpdateAction) -> Result<Option<String>, HostError> {
        let before = match self.client.updates_status().await {
            Ok(status) => status.most_recent_command.map(|command| command.timestamp),
            Err(error) if error.is_uninitialized() => None,
            Err(error) if error.is_unknown_route() => return Err(HostError::Unsupported(error)),
            Err(error) => return Err(error.into()),
        };
        match self.client.act(action).await {
            Ok(()) => Ok(before),
            Err(source) if source.is_wrong_state() => Err(HostError::WrongState { action, source }),
            Err(source) if source.is_unknown_route() => Err(HostError::Unsupported(source)),
            Err(source) if source.is_missing() => Err(HostError::Gone { action, source }),
            Err(source) if source.status().is_some_and(|s| s.is_server_error()) && self.has_no_updater().await => {
                Err(HostError::Unsupported(source))
            }
            Err(source) => Err(source.into()),
        }
    }

    /// Whether the updater left no status even where it failed: any that runs begins with one. So do images without
    /// updates in place answer, and disks that have no banks (500 `Update dispatcher failed`, or
    /// `Unable to start the update dispatcher`).
    async fn has_no_updater(&self) -> bool {
        matches!(self.client.updates_status().await, Err(error) if error.is_missing())
    }

    /// Waits until an action that was accepted has ended.
    async fn follow(&self, action: UpdateAction, before: Option<&str>) -> Result<UpdateStatus, HostError> {
        let mut pauses = self.paces.poll.delays();
        let mut wait = Wait::new(action, self.paces.told);
        let mut odd = 0;
        loop {
            sleep(pauses.wait()).await;
            let unknown = match self.client.updates_status().await {
                Ok(status) => match ended(before, &status, action) {
                    Some(end) => return end.map(|()| status),
                    None => None,
                },
                Err(error) if error.is_uninitialized() => None,
                Err(error) => Some(error),
            };
            // The lock is held, or the server restarts: that may last. Anything else does not pass.
            odd = match &unknown {
                Some(error) if !error.is_busy() && !error.is_no_answer() => odd + 1,
                _ => 0,
            };
            let waited = wait.since.elapsed();
            match unknown {
                Some(source) if odd >= MAX_ODD || waited >= self.paces.deadline(action) => {
                    return Err(HostError::Unknown { action, waited, source });
                }
                None if waited >= self.paces.deadline(action) => return Err(HostError::NoTrace { action, waited }),
                _ => wait.tell("the host to end it"),
            }
        }
    }
}

/// What a status says of an action that was asked for when the last command's timestamp was `before`: nothing yet, or
/// how it ended.
///
/// A success must show in the state too: the updater calls it one as well when it could not read its configuration or
/// the words of the program that did the work, and changed nothing.
fn ended(before: Option<&str>, now: &UpdateStatus, action: UpdateAction) -> Option<Result<(), HostError>> {
    let command = now.most_recent_command.as_ref().filter(|command| Some(command.timestamp.as_str()) != before)?;
    if command.cmd_type != action.kind() {
        return Some(Err(HostError::Foreign { action, found: command.cmd_type.clone() }));
    }
    if command.cmd_status != CommandOutcome::Success {
        let (exit_status, stderr) = (command.exit_status, command.stderr_line());
        return Some(Err(HostError::Failed { action, exit_status, stderr }));
    }
    let staged = now.staging_partition.as_ref().map(|partition| &partition.image);
    let led = match action {
        UpdateAction::Refresh => true,
        // A prepare over one that was staged before leaves the state as it was, so what is staged must be looked at.
        UpdateAction::Prepare => now.update_state == UpdateState::Staged && staged == now.chosen_update.as_ref(),
        UpdateAction::Activate => now.update_state == UpdateState::Ready,
        UpdateAction::Deactivate => now.update_state == UpdateState::Staged,
    };
    Some(if led { Ok(()) } else { Err(HostError::FalseSuccess { action, state: now.update_state.clone() }) })
}

/// A wait that may be long, for which reason people are told of it now and then.
struct Wait {
    action: UpdateAction,
    since: Instant,
    every: Duration,
    told: Instant,
}

impl Wait {
    fn new(action: UpdateAction, every: Duration) -> Self {
        let now = Instant::now();
        Self { action, since: now, every, told: now }
    }

    fn tell(&mut self, what: &'static str) {
        if self.told.elapsed() >= self.every {
            self.told = Instant::now();
            let seconds = self.since.elapsed().as_secs();
            tracing::info!(action = %self.action.kind(), seconds, "still waiting for {what}");
        }
    }
}

#[cfg(test)]
mod tests;
