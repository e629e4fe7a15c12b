//! Carries out what the machine asks for, through the host, its banks, the fleet and the checks.
//!
//! Owns the clients of all four. Receives an effect, emits the event that it ends with. Never decides and never tries
//! again by itself.

use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::UpdateAction;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::model::{Source, SourceState, error_chain};
use crate::update::banks::signpost::{Signpost, SignpostError};
use crate::update::drain;
use crate::update::fleet::{Board, Fleet};
use crate::update::host::{Host, HostError};
use crate::update::machine::{BootId, Effect, Event, Facts, Failure, PartialFacts, Progress, State};
use crate::update::verify::{self, Verify};

/// How long the fleet may take to answer a look.
const FLEET_ANSWER: Duration = Duration::from_secs(10);

/// What effects are carried out with.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) boot: BootId,
    pub(super) host: Host,
    pub(super) signpost: Signpost,
    pub(super) fleet: Fleet,
    pub(super) verify: Verify,
    pub(super) inputs: verify::Inputs,
}

impl Executor {
    /// Does it, however long that takes, and says what came of it.
    pub(super) async fn carry_out(&self, effect: Effect, state: &State) -> Event {
        let node = &state.node;
        match effect {
            // Written where it is asked for.
            Effect::Record { .. } => Event::Tick,
            Effect::Look => Event::Looked(self.look(state).await.map(Box::new)),
            Effect::Refresh => Event::Refreshed(self.act(UpdateAction::Refresh).await.map(drop)),
            Effect::Acquire => Event::Granted(self.fleet.acquire(node).await.map_err(|error| words(&error))),
            Effect::Release => Event::Released(self.fleet.release(node).await.map_err(|error| words(&error))),
            Effect::Prepare => Event::Prepared(self.act(UpdateAction::Prepare).await),
            Effect::Measure => Event::Measured(self.verify.baseline().await),
            Effect::Count => Event::Counted(drain::connections(&self.inputs.own).await.map_err(|error| words(&error))),
            Effect::Activate => Event::Activated(self.act(UpdateAction::Activate).await),
            Effect::Deactivate => Event::Deactivated(self.act(UpdateAction::Deactivate).await),
            Effect::Reboot => Event::Rebooting(self.host.reboot().await.map_err(|error| words(&error))),
            Effect::Check(baseline) => Event::Checked(self.verify.check(&baseline).await),
            Effect::RollBack => Event::RolledBack(match self.signpost.roll_back().await {
                Ok(()) => self.signpost.status().await.map_err(|error| words(&error)),
                Err(error) => Err(words(&error)),
            }),
            Effect::Pin(lock) => Event::Pinned(self.host.set_version_lock(&lock).await.map_err(|error| words(&error))),
            Effect::Rule(version, ruling) => {
                let told = self.fleet.rule(&version, &ruling).await.map_err(|error| words(&error));
                Event::Ruled(version, told)
            }
            Effect::Report(outcome) => {
                Event::Reported(self.fleet.report(node, &outcome).await.map_err(|error| words(&error)))
            }
            Effect::Reset(at) => Event::BreakerReset(self.fleet.reset(at).await.map_err(|error| words(&error))),
        }
    }

    async fn act(&self, action: UpdateAction) -> Result<Box<bottlerocket_settings::UpdateStatus>, Failure> {
        Ok(Box::new(self.host.run(action).await?))
    }

    async fn look(&self, state: &State) -> Result<Facts, Failure> {
        let (host, banks) = tokio::join!(self.host.look(), self.signpost.status());
        let banks = banks?;
        let partial = PartialFacts { boot: self.boot.clone(), banks };
        let host = host.map_err(|error| Failure { partial: Some(partial), ..error.into() })?;
        // The fleet has a say in whether an update begins, and in nothing after that.
        let asked = matches!(state.progress, Progress::Standby(_) | Progress::Locking { .. });
        let of_interest = host.updates.as_ref().is_some_and(|updates| updates.chosen_update.is_some())
            || !state.memory.rulings.is_empty();
        let board = match asked && of_interest {
            true => match timeout(FLEET_ANSWER, self.fleet.board()).await {
                Ok(board) => board.map_err(|error| words(&error)),
                Err(_) => Err(format!("the fleet did not answer within {FLEET_ANSWER:?}").into()),
            },
            false => Ok(Board::default()),
        };
        Ok(Facts {
            boot: self.boot.clone(),
            running: host.running,
            updates: host.updates,
            banks,
            version_lock: host.version_lock,
            seed: host.seed,
            board,
            ready: self.ready(),
        })
    }

    /// Whether the agent could judge an update.
    fn ready(&self) -> Result<(), Arc<str>> {
        let inputs = &self.inputs;
        let up = |source: &watch::Receiver<Source>| source.borrow().state == SourceState::Up;
        let missing = [
            (up(&inputs.host_api), "the host's API"),
            (up(&inputs.docker), "Docker"),
            (inputs.own.borrow().is_some(), "its own endpoints"),
            (inputs.desired.borrow().is_some(), "the mesh"),
            (inputs.dataplane.borrow().in_sync(), "the kernel's tables"),
        ];
        match missing.into_iter().find(|(there, _)| !there) {
            Some((_, what)) => Err(format!("{what} is not there").into()),
            None => Ok(()),
        }
    }
}

fn words(error: &(dyn std::error::Error + 'static)) -> Arc<str> {
    error_chain(error).into()
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self { why: words(&error), unsupported: error.is_unsupported(), busy: error.is_busy(), partial: None }
    }
}

impl From<SignpostError> for Failure {
    fn from(error: SignpostError) -> Self {
        Self { why: words(&error), unsupported: error.is_unsupported(), busy: false, partial: None }
    }
}
