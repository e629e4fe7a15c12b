//! Verifying: the new version runs, and is judged by how the workloads do on it.

use std::sync::Arc;
use std::time::Duration;

use super::effect::Effect;
use super::event::Event;
use super::policy;
use super::record::{BootId, End, Intent, Verdict};
use super::state::{Now, Progress, State, Step};
use crate::update::verify::Report;

/// What is being judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) boot: BootId,
    pub(super) boots: u32,
    pub(super) since: Duration,
    pub(super) settled: Option<Duration>,
}

impl State {
    pub(super) fn verify(&mut self, intent: Intent, boot: BootId, boots: u32, since: Duration) -> Vec<Effect> {
        let baseline = intent.baseline.clone();
        let step = Step::Verifying { boot, boots, since, settled: None, report: None };
        self.progress = Progress::Updating { intent, step };
        vec![Effect::Check(baseline)]
    }

    pub(super) fn verifying(&mut self, intent: Intent, judged: Judged, event: Event, now: Now) -> Option<Vec<Effect>> {
        match event {
            Event::Tick => Some(vec![Effect::Check(intent.baseline)]),
            Event::Checked(report) => Some(self.checked(intent, judged, report, now)),
            _ => None,
        }
    }

    fn checked(&mut self, intent: Intent, judged: Judged, report: Report, now: Now) -> Vec<Effect> {
        let Judged { boot, boots, since, settled } = judged;
        let settled = if report.good() { settled.or(Some(now.boot)) } else { None };
        let holds = settled.is_some_and(|since| now.boot.saturating_sub(since) >= self.settings.verify.settle);
        if holds {
            return self.approve(&intent, report, now);
        }
        if now.boot.saturating_sub(since) >= self.settings.verify.deadline {
            let why = match report.checks.iter().find(|check| !check.ok) {
                Some(check) => format!("{}: {}", check.name, check.found),
                None => "its checks did not hold long enough before the deadline".to_owned(),
            };
            return self.condemn(intent, why, report, now);
        }
        let step = Step::Verifying { boot, boots, since, settled, report: Some(report) };
        self.progress = Progress::Updating { intent, step };
        Vec::new()
    }

    /// The new version is good.
    fn approve(&mut self, intent: &Intent, report: Report, now: Now) -> Vec<Effect> {
        let why: Arc<str> = "every check held".into();
        self.memory.verdict =
            Some(Verdict { version: intent.to.clone(), good: true, at: now.wall, why: why.clone(), report });
        self.end(intent, End::Good, why, now)
    }

    /// The new version is bad: never again, and back, if that is still allowed.
    pub(super) fn condemn(&mut self, intent: Intent, why: String, report: Report, now: Now) -> Vec<Effect> {
        let why = policy::sentence(&why);
        self.memory.verdict =
            Some(Verdict { version: intent.to.clone(), good: false, at: now.wall, why: why.clone(), report });
        self.rule(intent.to.clone(), true, why.clone(), now);
        let max = self.settings.max_rollbacks;
        if self.memory.rollbacks >= max {
            return self.keep(&intent, format!("{why}; no rollback is left (update.max_rollbacks is {max})"), now);
        }
        self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
        // The fleet hears of it first: nobody else should begin with this version while the host reboots.
        let told = self.memory.rulings.get(&intent.to).cloned();
        let tell = told.map(|ruling| Effect::Rule(intent.to.clone(), ruling));
        tell.into_iter().chain(self.roll_back(intent)).collect()
    }
}
