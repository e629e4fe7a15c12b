//! Does what the state machine says, and tells it what came of it.
//!
//! Owns the state and the journal. Effects are carried out in order, one at a time (`executor`); the journal is written
//! before anything that follows it in a step. Never decides anything.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::executor::Executor;
use self::setup::{Work, off, open};
use super::clock::now;
use super::drain::Availability;
use super::handle::{Handle, Metrics, Request};
use super::journal::Journal;
use super::machine::{Effect, Event, Progress, ProgressKind, Record, State, obey, step};
use super::summary;
use super::verify;
use crate::config::Settings;
use crate::config::update::UpdateMode;
use crate::model::{Node, error_chain, publish};
use crate::names::dns::SelfQuery;

mod executor;
mod setup;

/// The task that owns the update. Made first, so that others can subscribe; then run.
#[derive(Debug)]
pub struct Task {
    /// Absent where there is nothing to do.
    work: Option<Work>,
    node: watch::Receiver<Option<Node>>,
    state: watch::Sender<Arc<State>>,
    availability: watch::Sender<Availability>,
    requests: mpsc::Receiver<Request>,
    metrics: Metrics,
    queue: VecDeque<Effect>,
    /// What was last logged to have gone wrong, so that it is logged once.
    logged: Option<Arc<str>>,
}

impl Task {
    /// The task; how to reach it; whether this node's endpoints take connections, from the first moment on. `resolver`:
    /// how to ask the agent's own resolver, where it answers containers.
    #[must_use]
    pub fn new(
        settings: &Settings,
        node: watch::Receiver<Option<Node>>,
        resolver: Option<SelfQuery>,
        inputs: verify::Inputs,
    ) -> (Self, Handle, watch::Receiver<Availability>) {
        let update = Arc::new(settings.update.clone());
        let (state, work) = match open(settings, update.clone(), resolver, inputs) {
            Ok(opened) => opened,
            Err(_) if update.mode == UpdateMode::Off => (off(update), None),
            Err(error) => {
                warn!(error = %error_chain(&error), "updates of this node are not managed; the mesh goes on without");
                let mut state = State::new(update, Arc::default(), Record::default());
                state.progress = Progress::Unsupported(error_chain(&error).into());
                (state, None)
            }
        };
        let (availability, availability_out) = watch::channel(summary::availability(&state));
        let (state, state_out) = watch::channel(Arc::new(state));
        let metrics = Metrics::default();
        let (handle, requests) = Handle::new(state_out, metrics.clone());
        let queue = VecDeque::new();
        let task = Self { work, node, state, availability, requests, metrics, queue, logged: None };
        (task, handle, availability_out)
    }

    /// Runs until told to stop. What the host was told to do by then, it goes on doing; the next start finds out.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(Work { executor, mut journal }) = self.work.take() else {
            // Nobody takes commands, those that wait included, and what is shown stays.
            drop(self.requests);
            return stop.cancelled().await;
        };
        stop.run_until_cancelled(Box::pin(self.follow(&executor, &mut journal))).await;
    }

    async fn follow(&mut self, executor: &Executor, journal: &mut Journal) {
        let node =
            self.node.wait_for(Option::is_some).await.ok().and_then(|node| node.as_ref().map(|it| it.name.clone()));
        // Who this node is never became known, and never will.
        let Some(name) = node else { return std::future::pending().await };
        self.state.send_modify(|state| Arc::make_mut(state).node = name);
        self.on(Event::Tick, journal);
        loop {
            match self.queue.pop_front() {
                Some(effect) => self.do_next(effect, executor, journal).await,
                None => self.wait(journal).await,
            }
        }
    }

    /// Carries out an effect. Commands are heard meanwhile.
    async fn do_next(&mut self, effect: Effect, executor: &Executor, journal: &mut Journal) {
        let state = self.state.borrow().clone();
        let mut work = Box::pin(executor.carry_out(effect, &state));
        let event = loop {
            tokio::select! {
                event = &mut work => break event,
                Some(request) = self.requests.recv() => self.answer(request, journal),
            }
        };
        self.on(event, journal);
    }

    /// Waits for the next tick or command.
    async fn wait(&mut self, journal: &mut Journal) {
        let tick_after = self.state.borrow().tick_after();
        tokio::select! {
            () = sleep(tick_after) => self.on(Event::Tick, journal),
            Some(request) = self.requests.recv() => {
                self.answer(request, journal);
                if matches!(self.state.borrow().progress, Progress::Standby(_)) {
                    self.on(Event::Tick, journal);
                }
            }
        }
    }

    fn answer(&mut self, request: Request, journal: &mut Journal) {
        info!(command = request.command.name(), "update command received");
        let (next, effects) = obey(&self.state.borrow(), request.command, now());
        self.enter(next);
        self.record_and_queue(effects, journal);
        let recorded = self.state.borrow().recorded;
        // Whoever asked may have gone away.
        let _ = request.done.send(if recorded { Ok(()) } else { Err(self.logged.clone().unwrap_or_default()) });
    }

    /// One step of the machine, and the journal's part of it.
    fn on(&mut self, event: Event, journal: &mut Journal) {
        self.log_failure(&event);
        let Some(effects) = self.step(event) else { return };
        self.record_and_queue(effects, journal);
    }

    fn record_and_queue(&mut self, effects: Vec<Effect>, journal: &mut Journal) {
        for effect in effects {
            let Effect::Record { record, essential } = effect else {
                self.queue.push_back(effect);
                continue;
            };
            // A disk that hangs must not hang the mesh.
            let saved = tokio::task::block_in_place(|| journal.save(&*record));
            if let Err(error) = saved {
                let event = Event::NotRecorded { why: error_chain(&error).into(), essential };
                self.log_failure(&event);
                // Asks for nothing.
                self.step(event);
                if essential {
                    return;
                }
            }
        }
    }

    fn step(&mut self, event: Event) -> Option<Vec<Effect>> {
        let stepped = step(&self.state.borrow(), event, now());
        match stepped {
            Ok((next, effects)) => {
                self.enter(next);
                Some(effects)
            }
            Err(illegal) => {
                self.metrics.illegal.inc();
                warn!(error = %illegal, "update event ignored; this is a bug in meshdog, please report it");
                None
            }
        }
    }

    /// The state is this from now on.
    fn enter(&mut self, next: State) {
        let before = self.state.borrow().clone();
        self.log_transition(&before, &next);
        let availability = summary::availability(&next);
        self.state.send_replace(Arc::new(next));
        publish(&self.availability, availability, PartialEq::eq);
    }

    /// A line for each transition, each end and each hold.
    fn log_transition(&self, before: &State, next: &State) {
        let (from, to) = (ProgressKind::of(&before.progress), ProgressKind::of(&next.progress));
        if from != to {
            self.metrics.transitions.inc();
            info!(%from, %to, phase = %next.phase(), "update state changed");
        }
        if let Some(past) = next.memory.history.last().filter(|past| before.memory.history.last() != Some(past)) {
            info!(from = %past.from, to = %past.to, end = past.end.as_str(), why = %past.why, "update ended");
        }
        if let Some(held) = next.memory.held.as_ref().filter(|_| before.memory.held.is_none()) {
            warn!(why = %held.why, "updates are held; meshdog update resume lets them go on");
        }
    }

    /// A line for each new failure.
    fn log_failure(&mut self, event: &Event) {
        let failure = event.failure();
        if let Some(failure) = failure.filter(|failure| self.logged.as_ref() != Some(*failure)) {
            warn!(event = event.name(), error = %failure, "update step failed");
            self.logged = Some(failure.clone());
        }
    }
}

#[cfg(test)]
mod tests;
