//! An update under way, step by step.

use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::{UpdateState, UpdateStatus};
use semver::Version;

use super::{BootId, Effect, End, Event, Intent, Now, OwnCommand, Phase, Stage, State, Step};
use crate::update::boot::{rollback_barred, rollback_barred_by_banks};
use crate::update::policy;

/// The least time that other nodes are given to hear that this one drains.
const HEARD: Duration = Duration::from_secs(2);
/// How long a host that cannot be looked at is waited for, with the drain done and nobody served.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a host is asked to reboot into a new version before the update is called off.
const MAX_ASKED: u32 = 120;
/// How often the banks may refuse to be turned back before a person has to look.
const MAX_FAILED: u32 = 10;

impl State {
    /// An event of an update under way; `None` where it cannot happen.
    pub(super) fn update(&mut self, intent: Intent, step: Step, event: Event, now: Now) -> Option<Vec<Effect>> {
        let activated = Stage::from(&step) == Stage::Activating;
        Some(match (step, event) {
            (Step::Preparing, Event::Prepared(Ok(status))) => {
                self.heard(&intent, &status);
                if !holds(&intent, &status, UpdateState::Staged) {
                    return Some(self.withdraw(intent, activated, "the host staged something else"));
                }
                self.go_on(intent, activated, Step::Measuring, Effect::Measure)
            }
            (Step::Measuring, Event::Measured(baseline)) => {
                let step = Step::Draining { since: now.boot, left: None };
                self.go_on(Intent { baseline, ..intent }, activated, step, Effect::Count)
            }
            (Step::Draining { since, left }, Event::Tick) => {
                self.go_on(intent, activated, Step::Draining { since, left }, Effect::Count)
            }
            (Step::Draining { since, left }, Event::Counted(count)) => {
                let (elapsed, deadline) = (now.boot.saturating_sub(since), self.settings.drain);
                let drained = count == Ok(0) && elapsed >= HEARD;
                let step = Step::Draining { since, left: count.ok().or(left) };
                if self.memory.held.is_some() || drained || elapsed >= deadline {
                    return Some(self.go_on(intent, activated, step, Effect::Look));
                }
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Draining { since, left }, Event::Looked(Err(trouble))) => {
                // Nobody is served meanwhile, so it is not waited for ever.
                if now.boot.saturating_sub(since) >= self.settings.drain + PATIENCE {
                    return Some(self.withdraw(intent, activated, trouble.why));
                }
                self.phase = Phase::Updating { intent, step: Step::Draining { since, left } };
                Vec::new()
            }
            (Step::Draining { .. }, Event::Looked(Ok(facts))) => {
                // Where several nodes update at one time, another may have found out by now.
                if let Ok(board) = &facts.board {
                    policy::learn(&mut self.memory, board);
                }
                if let Some(ruling) = policy::refusal(&self.memory, &intent.to) {
                    let why = format!("{} refused it: {}", ruling.by, ruling.why);
                    return Some(self.withdraw(intent, activated, why));
                }
                let staged = facts.updates.as_ref().is_some_and(|it| it.update_state == UpdateState::Staged);
                let untouched = staged
                    && policy::is_own(&self.memory, &facts)
                    && facts.banks.active == intent.bank
                    && facts.banks.next() == Some(intent.bank);
                if !untouched {
                    return Some(self.withdraw(intent, activated, "somebody else changed what is staged"));
                }
                self.go_on(intent, activated, Step::Activating, Effect::Activate)
            }
            (Step::Activating, Event::Activated(Ok(status))) => {
                self.heard(&intent, &status);
                if !holds(&intent, &status, UpdateState::Ready) {
                    return Some(self.withdraw(intent, activated, "the host made something else ready"));
                }
                self.go_on(intent, activated, Step::Rebooting { back: false, asked: 1 }, Effect::Reboot)
            }
            (Step::Preparing, Event::Prepared(Err(trouble))) | (Step::Activating, Event::Activated(Err(trouble))) => {
                self.withdraw(intent, activated, trouble.why)
            }

            (step @ Step::Rebooting { .. }, Event::Rebooting(Ok(()))) => {
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Rebooting { back: false, asked }, Event::Rebooting(Err(why))) if asked >= MAX_ASKED => {
                self.withdraw(intent, activated, format!("the host does not reboot: {why}"))
            }
            (step @ Step::Rebooting { .. }, Event::Rebooting(Err(_))) => {
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Rebooting { back: false, asked }, Event::Tick) if asked >= MAX_ASKED => {
                self.withdraw(intent, activated, "the host does not reboot")
            }
            (Step::Rebooting { back: false, asked }, Event::Tick) => {
                self.go_on(intent, activated, Step::Rebooting { back: false, asked: asked + 1 }, Effect::Reboot)
            }
            (Step::Rebooting { back: true, asked }, Event::Tick) => {
                let step = Step::Rebooting { back: true, asked: asked.saturating_add(1) };
                self.phase = Phase::Updating { intent, step };
                vec![Effect::Reboot]
            }

            (Step::Withdrawing { .. }, Event::Tick) => vec![Effect::Look],
            (
                Step::Withdrawing { why, activated, .. },
                Event::Looked(Err(trouble)) | Event::Deactivated(Err(trouble)),
            ) => {
                let step = Step::Withdrawing { why, activated, trouble: Some(trouble.why) };
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }
            (Step::Withdrawing { .. }, Event::Deactivated(Ok(status))) => {
                self.heard(&intent, &status);
                // What was made ready in between, and is no longer, is somebody else's.
                self.memory.own.take_if(|own| own.staged != intent.to);
                vec![Effect::Look]
            }
            (Step::Withdrawing { why, activated, .. }, Event::Looked(Ok(facts))) => {
                if let Some(status) = &facts.updates {
                    // What came of a command whose end was not heard is this agent's own.
                    let unheard = self.memory.own.as_ref().is_none_or(|own| own.timestamp.is_none());
                    let state = if activated { UpdateState::Ready } else { UpdateState::Staged };
                    if unheard && (holds(&intent, status, state) || holds(&intent, status, UpdateState::Staged)) {
                        self.heard(&intent, status);
                    }
                    let ready = status.update_state == UpdateState::Ready;
                    if activated && ready && policy::is_own(&self.memory, &facts) {
                        return Some(self.command(Effect::Deactivate));
                    }
                }
                self.end(&intent, End::Withdrawn, why, now)
            }

            (step @ Step::Verifying { .. }, Event::Tick) => {
                let baseline = intent.baseline.clone();
                self.phase = Phase::Updating { intent, step };
                vec![Effect::Check(baseline)]
            }
            (Step::Verifying { boot, boots, since, settled, .. }, Event::Checked(report)) => {
                let settled = if report.good() { settled.or(Some(now.boot)) } else { None };
                let holds = settled.is_some_and(|since| now.boot.saturating_sub(since) >= self.settings.verify.settle);
                if holds {
                    return Some(self.approve(&intent, report, now));
                }
                if now.boot.saturating_sub(since) >= self.settings.verify.deadline {
                    let why = match report.checks.iter().find(|check| !check.ok) {
                        Some(check) => format!("{}: {}", check.name, check.found),
                        None => "its checks did not hold long enough before the deadline".to_owned(),
                    };
                    return Some(self.condemn(intent, why, report, now));
                }
                let step = Step::Verifying { boot, boots, since, settled, report: Some(report) };
                self.phase = Phase::Updating { intent, step };
                Vec::new()
            }

            (Step::RollingBack { .. }, Event::Tick) => vec![Effect::Look],
            (Step::RollingBack { failed, .. }, Event::Looked(Err(trouble))) => match trouble.seen {
                Some(seen) => match rollback_barred_by_banks(&intent, &seen.banks) {
                    Some(barred) => self.keep(&intent, format!("it cannot be taken back: {barred}"), now),
                    None => vec![Effect::RollBack],
                },
                None => self.stuck(intent, failed, trouble.why, now),
            },
            (Step::RollingBack { .. }, Event::Looked(Ok(facts))) => match rollback_barred(&intent, &facts) {
                Some(barred) => self.keep(&intent, format!("it cannot be taken back: {barred}"), now),
                None => vec![Effect::RollBack],
            },
            (Step::RollingBack { .. }, Event::RolledBack(Ok(banks))) if banks.next() == Some(intent.bank) => {
                self.phase = Phase::Updating { intent, step: Step::Rebooting { back: true, asked: 1 } };
                vec![Effect::Reboot]
            }
            (Step::RollingBack { failed, .. }, Event::RolledBack(result)) => {
                let why = result.err().unwrap_or_else(|| "signpost changed nothing".into());
                self.stuck(intent, failed, why, now)
            }
            _ => return None,
        })
    }

    /// The next step towards the reboot, unless a person holds updates meanwhile.
    pub(super) fn go_on(&mut self, intent: Intent, activated: bool, step: Step, effect: Effect) -> Vec<Effect> {
        match &self.memory.held {
            Some(held) => {
                let why = format!("updates are held: {}", held.why);
                self.withdraw(intent, activated, why)
            }
            None => {
                self.phase = Phase::Updating { intent, step };
                self.command(effect)
            }
        }
    }

    /// Before the host's updater is told something: whatever is said of a command then may be said of this one.
    pub(super) fn command(&mut self, effect: Effect) -> Vec<Effect> {
        if let (Effect::Prepare | Effect::Activate | Effect::Deactivate, Some(own)) = (&effect, &mut self.memory.own) {
            own.timestamp = None;
        }
        vec![effect]
    }

    /// The host's last command was this agent's.
    pub(super) fn heard(&mut self, intent: &Intent, status: &UpdateStatus) {
        let staged = status.staging_partition.as_ref().and_then(|it| Version::parse(&it.image.version).ok());
        let timestamp = status.most_recent_command.as_ref().map(|command| command.timestamp.clone());
        self.memory.own = staged.map(|staged| OwnCommand { boot: intent.boot.clone(), timestamp, staged });
    }

    pub(super) fn withdraw(&mut self, intent: Intent, activated: bool, why: impl Into<Arc<str>>) -> Vec<Effect> {
        let step = Step::Withdrawing { why: why.into(), activated, trouble: None };
        self.phase = Phase::Updating { intent, step };
        vec![Effect::Look]
    }

    pub(super) fn verify(&mut self, intent: Intent, boot: BootId, boots: u32, since: Duration) -> Vec<Effect> {
        let baseline = intent.baseline.clone();
        let step = Step::Verifying { boot, boots, since, settled: None, report: None };
        self.phase = Phase::Updating { intent, step };
        vec![Effect::Check(baseline)]
    }

    pub(super) fn roll_back(&mut self, intent: Intent) -> Vec<Effect> {
        self.phase = Phase::Updating { intent, step: Step::RollingBack { failed: 0, trouble: None } };
        vec![Effect::Look]
    }

    pub(super) fn stuck(&mut self, intent: Intent, failed: u32, why: Arc<str>, now: Now) -> Vec<Effect> {
        if failed + 1 >= MAX_FAILED {
            return self.keep(&intent, format!("it cannot be taken back: {why}"), now);
        }
        let step = Step::RollingBack { failed: failed + 1, trouble: Some(why) };
        self.phase = Phase::Updating { intent, step };
        Vec::new()
    }
}

/// Whether the host's updater is in this state with this update.
fn holds(intent: &Intent, status: &UpdateStatus, state: UpdateState) -> bool {
    let staged = status.staging_partition.as_ref().map(|staged| staged.image.version.as_str());
    status.update_state == state && staged == Some(intent.to.to_string().as_str())
}
