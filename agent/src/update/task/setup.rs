//! What the task begins with: the journal as it was left, and the clients that effects are carried out with.

use std::sync::Arc;

use bottlerocket_settings::Client;
use tracing::warn;

use super::executor::Executor;
use crate::config::update::UpdateMode;
use crate::config::{Settings, UpdateSettings};
use crate::names::dns::SelfQuery;
use crate::sources::boot::{BootIdError, boot_id};
use crate::update::banks::signpost::Signpost;
use crate::update::fleet::{Fleet, FleetError};
use crate::update::host::Host;
use crate::update::journal::{Journal, JournalError, Loaded};
use crate::update::machine::{BootId, Progress, Reason, Record, Standby, State};
use crate::update::verify::{self, Verify};

/// Why this node's updates cannot be looked after. The mesh goes on without.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error(transparent)]
    BootId(#[from] BootIdError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Host(#[from] bottlerocket_settings::Error),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Verify(#[from] verify::Error),
}

/// What there is to work with.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) executor: Executor,
    pub(super) journal: Journal,
}

/// The state where nobody looks after updates.
pub(super) fn off(update: Arc<UpdateSettings>) -> State {
    let mut state = State::new(update, Arc::default(), Record::default());
    let reason = Some(Reason::Idle("update.mode is off".into()));
    state.progress = Progress::Standby(Standby { reason, ..Standby::default() });
    state
}

/// Where the update is, and what to work with; nothing to work with where there is nothing to do.
pub(super) fn open(
    settings: &Settings,
    update: Arc<UpdateSettings>,
    resolver: Option<SelfQuery>,
    inputs: verify::Inputs,
) -> Result<(State, Option<Work>), SetupError> {
    let (journal, loaded) = Journal::open(&settings.paths.state_dir)?;
    let record = read(loaded);
    // Without an update to finish there is nothing to do, and no client is made.
    if update.mode == UpdateMode::Off && record.update.is_none() {
        return Ok((off(update), None));
    }
    let state = State::new(update.clone(), Arc::default(), record);
    let executor = Executor {
        boot: BootId(boot_id(&settings.paths.boot_id)?),
        host: Host::new(Client::new(&settings.paths.api_socket)?),
        signpost: Signpost::new(settings.paths.signpost.clone()),
        fleet: Fleet::new(&update.fleet, update.fleet.board.as_ref())?,
        verify: Verify::new(&update.verify, &settings.mesh.namespace, resolver, inputs.clone())?,
        inputs,
    };
    Ok((state, Some(Work { executor, journal })))
}

/// What the journal held. One that is lost is begun anew: version and banks say what can still be said.
fn read(loaded: Loaded) -> Record {
    if loaded.is_lost() {
        warn!(slots = ?loaded.damaged, "the update journal is lost; an update under way is not judged");
    }
    let Some(body) = loaded.body else { return Record::default() };
    serde_json::from_value(body).unwrap_or_else(|error| {
        warn!(%error, "the update journal cannot be understood; an update under way is not judged");
        Record::default()
    })
}
