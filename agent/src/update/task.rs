//! Does what the state machine says, and tells it what came of it.
//!
//! Owns the state and the journal. Effects are carried out in order, one at a time; the journal is written before
//! anything that follows it in a step. Never decides anything.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::{Client, UpdateAction};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::banks::signpost::{Signpost, SignpostError};
use super::drain::{self, Standing};
use super::fleet::{Board, Fleet, FleetError};
use super::host::{Host, HostError};
use super::journal::{Journal, JournalError, Loaded};
use super::machine::{
    BootId, Effect, Event, Facts, Glimpse, Now, Phase, Place, Record, Rest, State, Trouble, Why, step,
};
use super::verify::{self, Verify};
use super::{Handle, Metrics, ORDERS, Order, view};
use crate::config::update::UpdateMode;
use crate::config::{Settings, UpdateSettings};
use crate::model::{Node, SourceState, error_chain};
use crate::names::dns::SelfQuery;

/// How long the fleet may take to answer a look.
const FLEET_ANSWER: Duration = Duration::from_secs(10);
/// The longest boot id that is read, in bytes; a UUID has 36.
const MAX_BOOT_ID: u64 = 64;

/// Why this node's updates cannot be looked after. The mesh goes on without.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("cannot read the boot id {}; check paths.boot_id", path.display())]
    BootId { path: PathBuf, source: io::Error },
    #[error("{} holds no boot id; check paths.boot_id", .0.display())]
    NoBootId(PathBuf),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Host(#[from] bottlerocket_settings::Error),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Verify(#[from] verify::Error),
}

/// What effects are carried out with.
#[derive(Debug)]
struct Tools {
    boot: BootId,
    host: Host,
    signpost: Signpost,
    fleet: Fleet,
    verify: Verify,
    inputs: verify::Inputs,
}

/// What there is to do.
#[derive(Debug)]
struct Work {
    tools: Tools,
    journal: Journal,
}

/// The task that owns the update. Made first, so that others can subscribe; then run.
#[derive(Debug)]
pub struct Task {
    /// Absent where there is nothing to do.
    work: Option<Work>,
    node: watch::Receiver<Option<Node>>,
    state: watch::Sender<Arc<State>>,
    standing: watch::Sender<Standing>,
    orders: mpsc::Receiver<Order>,
    metrics: Metrics,
    queue: VecDeque<Effect>,
    /// What was last said to have gone wrong, so that it is said once.
    said: Option<Arc<str>>,
}

impl Task {
    /// The task; how to reach it; how this node's endpoints stand, from the first moment on. `resolver`: how to ask the
    /// agent's own resolver, where it answers containers.
    #[must_use]
    pub fn new(
        settings: &Settings,
        node: watch::Receiver<Option<Node>>,
        resolver: Option<SelfQuery>,
        inputs: verify::Inputs,
    ) -> (Self, Handle, watch::Receiver<Standing>) {
        let update = Arc::new(settings.update.clone());
        let (state, work) = match open(settings, update.clone(), resolver, inputs) {
            Ok(opened) => opened,
            Err(_) if update.mode == UpdateMode::Off => (off(update), None),
            Err(error) => {
                warn!(error = %error_chain(&error), "this node's updates are not looked after");
                let mut state = State::new(update, Arc::default(), Record::default());
                state.phase = Phase::Unsupported(error_chain(&error).into());
                (state, None)
            }
        };
        let metrics = Metrics::default();
        let standing = watch::Sender::new(view::standing(&state));
        let stands = standing.subscribe();
        let state = watch::Sender::new(Arc::new(state));
        let (send, orders) = mpsc::channel(ORDERS);
        let handle = Handle { state: state.subscribe(), metrics: metrics.clone(), orders: send };
        let task = Self { work, node, state, standing, orders, metrics, queue: VecDeque::new(), said: None };
        (task, handle, stands)
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let Some(Work { tools, mut journal }) = self.work.take() else {
            // Nobody takes orders, and what is shown stays.
            self.orders.close();
            return std::future::pending().await;
        };
        let named =
            self.node.wait_for(Option::is_some).await.ok().and_then(|node| node.as_ref().map(|it| it.name.clone()));
        let Some(name) = named else { return std::future::pending().await };
        self.state.send_modify(|state| Arc::make_mut(state).node = name);
        self.on(Event::Tick, &mut journal).await;
        loop {
            match self.queue.pop_front() {
                Some(effect) => {
                    let state = self.state.borrow().clone();
                    let mut work = Box::pin(tools.carry_out(effect, &state));
                    let event = loop {
                        tokio::select! {
                            event = &mut work => break event,
                            Some(order) = self.orders.recv() => self.order(order, &mut journal).await,
                        }
                    };
                    self.on(event, &mut journal).await;
                }
                None => {
                    let pause = self.state.borrow().pause();
                    tokio::select! {
                        () = sleep(pause) => self.on(Event::Tick, &mut journal).await,
                        Some(order) = self.orders.recv() => {
                            self.order(order, &mut journal).await;
                            if matches!(self.state.borrow().phase, Phase::Resting(_)) {
                                self.on(Event::Tick, &mut journal).await;
                            }
                        }
                    }
                }
            }
        }
    }

    async fn order(&mut self, order: Order, journal: &mut Journal) {
        let event = order.event;
        info!(order = event.name(), "a person speaks");
        self.on(event, journal).await;
        let recorded = self.state.borrow().recorded;
        // Whoever asked may have gone away.
        let _ = order.done.send(if recorded { Ok(()) } else { Err(self.said.clone().unwrap_or_default()) });
    }

    /// One step of the machine, and the journal's part of it.
    async fn on(&mut self, event: Event, journal: &mut Journal) {
        self.say(&event);
        let Some(effects) = self.step(event) else { return };
        for effect in effects {
            let Effect::Record { record, essential } = effect else {
                self.queue.push_back(effect);
                continue;
            };
            // A disk that hangs must not hang the mesh.
            let saved = tokio::task::block_in_place(|| journal.save(&*record));
            if let Err(error) = saved {
                let event = Event::NotRecorded { why: error_chain(&error).into(), essential };
                self.say(&event);
                // Asks for nothing.
                self.step(event);
                if essential {
                    return;
                }
            }
        }
    }

    fn step(&mut self, event: Event) -> Option<Vec<Effect>> {
        let before = self.state.borrow().clone();
        match step(&before, event, now()) {
            Ok((next, effects)) => {
                self.announce(&before, &next);
                let stands = view::standing(&next);
                self.state.send_replace(Arc::new(next));
                self.standing.send_if_modified(|standing| {
                    let differs = *standing != stands;
                    *standing = stands;
                    differs
                });
                Some(effects)
            }
            Err(illegal) => {
                self.metrics.illegal.inc();
                warn!(error = %illegal, "this is a bug in meshdog; please report it");
                None
            }
        }
    }

    /// A line for each transition, each end and each hold.
    fn announce(&self, before: &State, next: &State) {
        let (from, to) = (Place::of(&before.phase), Place::of(&next.phase));
        if from != to {
            self.metrics.transitions.inc();
            info!(%from, %to, "update");
        }
        if let Some(past) = next.memory.history.last().filter(|past| before.memory.history.last() != Some(past)) {
            info!(from = %past.from, to = %past.to, end = past.end.as_str(), why = %past.why, "update ended");
        }
        if let Some(held) = next.memory.held.as_ref().filter(|_| before.memory.held.is_none()) {
            warn!(why = %held.why, "updates are held until somebody says meshdog update resume");
        }
    }

    /// A line for each new trouble.
    fn say(&mut self, event: &Event) {
        let trouble = event.trouble();
        if let Some(trouble) = trouble.filter(|trouble| self.said.as_ref() != Some(*trouble)) {
            warn!(event = event.name(), error = %trouble, "update");
            self.said = Some(trouble.clone());
        }
    }
}

fn off(update: Arc<UpdateSettings>) -> State {
    let mut state = State::new(update, Arc::default(), Record::default());
    state.phase = Phase::Resting(Rest { why: Some(Why::Idle("update.mode is off".into())), ..Rest::default() });
    state
}

/// What is to be done, and where it stands; no tools where there is nothing to do.
fn open(
    settings: &Settings,
    update: Arc<UpdateSettings>,
    resolver: Option<SelfQuery>,
    inputs: verify::Inputs,
) -> Result<(State, Option<Work>), SetupError> {
    let (journal, loaded) = Journal::open(&settings.paths.state_dir)?;
    let record = read(loaded);
    // Without an update to finish there is nothing to do, and no tool is made.
    if update.mode == UpdateMode::Off && record.update.is_none() {
        return Ok((off(update), None));
    }
    let state = State::new(update.clone(), Arc::default(), record);
    let tools = Tools {
        boot: boot_id(&settings.paths.boot_id)?,
        host: Host::new(Client::new(&settings.paths.api_socket)?),
        signpost: Signpost::new(settings.paths.signpost.clone()),
        fleet: Fleet::new(&update.fleet, update.fleet.board.as_ref())?,
        verify: Verify::new(&update.verify, &settings.mesh.namespace, resolver, inputs.clone())?,
        inputs,
    };
    Ok((state, Some(Work { tools, journal })))
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

fn boot_id(path: &Path) -> Result<BootId, SetupError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BOOT_ID).read_to_string(&mut text))
        .map_err(|source| SetupError::BootId { path: path.to_owned(), source })?;
    match text.trim() {
        "" => Err(SetupError::NoBootId(path.to_owned())),
        id => Ok(BootId(id.into())),
    }
}

/// Both clocks. That of the boot goes on while the machine sleeps, and cannot fail on Linux.
pub(crate) fn now() -> Now {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Now { wall: Timestamp::now(), boot }
}

impl Tools {
    async fn carry_out(&self, effect: Effect, state: &State) -> Event {
        let node = &state.node;
        match effect {
            // Written where it is asked for.
            Effect::Record { .. } => Event::Tick,
            Effect::Look => Event::Looked(self.look(state).await.map(Box::new)),
            Effect::Refresh => Event::Refreshed(self.act(UpdateAction::Refresh).await.map(drop)),
            Effect::Acquire => Event::Granted(self.fleet.acquire(node).await.map_err(|error| told(&error))),
            Effect::Release => Event::Released(self.fleet.release(node).await.map_err(|error| told(&error))),
            Effect::Prepare => Event::Prepared(self.act(UpdateAction::Prepare).await),
            Effect::Measure => Event::Measured(self.verify.baseline().await),
            Effect::Count => Event::Counted(drain::connections(&self.inputs.own).await.map_err(|error| told(&error))),
            Effect::Activate => Event::Activated(self.act(UpdateAction::Activate).await),
            Effect::Deactivate => Event::Deactivated(self.act(UpdateAction::Deactivate).await),
            Effect::Reboot => Event::Rebooting(self.host.reboot().await.map_err(|error| told(&error))),
            Effect::Check(baseline) => Event::Checked(self.verify.check(&baseline).await),
            Effect::RollBack => Event::RolledBack(match self.signpost.roll_back().await {
                Ok(()) => self.signpost.status().await.map_err(|error| told(&error)),
                Err(error) => Err(told(&error)),
            }),
            Effect::Pin(lock) => Event::Pinned(self.host.set_version_lock(&lock).await.map_err(|error| told(&error))),
            Effect::Rule(version, ruling) => {
                let told_so = self.fleet.rule(&version, &ruling).await.map_err(|error| told(&error));
                Event::Ruled(version, told_so)
            }
            Effect::Report(outcome) => {
                Event::Reported(self.fleet.report(node, &outcome).await.map_err(|error| told(&error)))
            }
            Effect::Reset(at) => Event::BreakerReset(self.fleet.reset(at).await.map_err(|error| told(&error))),
        }
    }

    async fn act(&self, action: UpdateAction) -> Result<Box<bottlerocket_settings::UpdateStatus>, Trouble> {
        Ok(Box::new(self.host.run(action).await?))
    }

    async fn look(&self, state: &State) -> Result<Facts, Trouble> {
        let (seen, banks) = tokio::join!(self.host.look(), self.signpost.status());
        let banks = banks?;
        let glimpse = Glimpse { boot: self.boot.clone(), banks };
        let seen = seen.map_err(|error| Trouble { seen: Some(glimpse), ..error.into() })?;
        // The fleet has a say in whether an update begins, and in nothing after that.
        let asked = matches!(state.phase, Phase::Resting(_) | Phase::Locking { .. });
        let of_interest = seen.updates.as_ref().is_some_and(|updates| updates.chosen_update.is_some())
            || !state.memory.rulings.is_empty();
        let board = match asked && of_interest {
            true => match timeout(FLEET_ANSWER, self.fleet.board()).await {
                Ok(board) => board.map_err(|error| told(&error)),
                Err(_) => Err(format!("the fleet did not answer within {FLEET_ANSWER:?}").into()),
            },
            false => Ok(Board::default()),
        };
        Ok(Facts {
            boot: self.boot.clone(),
            running: seen.running,
            updates: seen.updates,
            banks,
            version_lock: seen.version_lock,
            seed: seen.seed,
            board,
            ready: self.ready(),
        })
    }

    /// Whether the agent could judge an update.
    fn ready(&self) -> Result<(), Arc<str>> {
        let inputs = &self.inputs;
        let up = |source: &watch::Receiver<crate::model::Source>| source.borrow().state == SourceState::Up;
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

fn told(error: &(dyn std::error::Error + 'static)) -> Arc<str> {
    error_chain(error).into()
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        Self { why: told(&error), unsupported: error.is_unsupported(), seen: None }
    }
}

impl From<SignpostError> for Trouble {
    fn from(error: SignpostError) -> Self {
        Self { why: told(&error), unsupported: error.is_unsupported(), seen: None }
    }
}
