//! Starting: the agent has just started, and sees what became of an update that was under way.

use std::time::Duration;

use super::boot::{Finding, classify, classify_blindly, failed_to_boot};
use super::effect::Effect;
use super::event::Event;
use super::facts::{Facts, Failure};
use super::record::{BootId, Checkpoint, End, Intent, PastUpdate, Underway};
use super::state::{Now, Progress, Standby, State};
use crate::config::update::UpdateMode;
use crate::update::verify::Report;

/// How long after a boot the host's API is waited for before an update is judged without it.
const BLIND: Duration = Duration::from_secs(120);
/// How many boots a verdict may take.
const MAX_BOOTS: u32 = 3;

impl State {
    pub(super) fn starting(&mut self, underway: Option<Underway>, event: Event, now: Now) -> Option<Vec<Effect>> {
        Some(match (underway, event) {
            (_, Event::Tick) => vec![Effect::Look],
            (None, Event::Looked(Ok(facts))) => self.started_without_update(&facts, now),
            (None, Event::Looked(Err(failure))) => {
                if failure.unsupported {
                    self.progress = Progress::Standby(Standby::default());
                }
                Vec::new()
            }
            (Some(underway), Event::Looked(Ok(facts))) => self.started_amid_update(underway, *facts, now),
            (Some(underway), Event::Looked(Err(failure))) => self.started_blindly(underway, failure, now),
            _ => return None,
        })
    }

    fn started_without_update(&mut self, facts: &Facts, now: Now) -> Vec<Effect> {
        self.progress = Progress::Standby(Standby::default());
        let ran = self.memory.running.replace(facts.running.clone());
        if let Some(from) = ran.filter(|ran| *ran != facts.running) {
            let why = "somebody else changed what runs".into();
            self.remember(PastUpdate { at: now.wall, from, to: facts.running.clone(), end: End::Foreign, why });
        }
        let unexplained = failed_to_boot(facts);
        if unexplained && !self.memory.unexplained {
            let why = format!(
                "bank {} failed to boot, and no journal says what was in it; look at it, then say resume",
                facts.banks.active.other()
            );
            self.hold(why, now);
        }
        self.memory.unexplained = unexplained;
        Vec::new()
    }

    fn started_amid_update(&mut self, underway: Underway, facts: Facts, now: Now) -> Vec<Effect> {
        let Underway { stage, intent } = underway;
        self.memory.running = Some(facts.running.clone());
        self.memory.unexplained = failed_to_boot(&facts);
        match classify(&intent, &stage, &facts) {
            Finding::SameBoot | Finding::Updated if self.settings.mode != UpdateMode::Automatic => {
                // What is prepared in this boot is undone; what runs is kept.
                if !was_rebooted(&stage) && intent.boot == facts.boot {
                    let activated = stage != Checkpoint::Preparing;
                    return self.withdraw(intent, activated, "update.mode is no longer automatic");
                }
                self.end(&intent, End::Unjudged, "update.mode is no longer automatic", now)
            }
            Finding::SameBoot => self.restarted(intent, stage),
            Finding::Updated => self.booted(intent, stage, facts.boot, now),
            Finding::FellBack => {
                let why = "it did not get through its first boot, so the firmware took the old bank";
                self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
                self.taken_back(&intent, &facts, End::FellBack, why, now)
            }
            Finding::RolledBack => {
                let verdict = self.memory.verdict.as_ref().filter(|verdict| verdict.version == intent.to);
                let why = verdict.map_or_else(|| "it was found bad".into(), |verdict| verdict.why.clone());
                self.taken_back(&intent, &facts, End::RolledBack, why, now)
            }
            Finding::TakenBack => {
                self.memory.rollbacks = self.memory.rollbacks.saturating_add(1);
                self.taken_back(&intent, &facts, End::TakenBack, "somebody else took it back", now)
            }
            Finding::NotActivated => self.end(&intent, End::Withdrawn, "it was cut short before its reboot", now),
            Finding::Foreign(why) => self.end(&intent, End::Foreign, why, now),
        }
    }

    /// The host's API does not answer.
    fn started_blindly(&mut self, underway: Underway, failure: Failure, now: Now) -> Vec<Effect> {
        let Underway { stage, intent } = underway;
        let automatic = self.settings.mode == UpdateMode::Automatic;
        // Nobody could judge it, or take it back. Where there still are two banks, it is the new version's doing.
        if failure.unsupported && (failure.partial.is_none() || !automatic) {
            return self.end(&intent, End::Foreign, failure.why, now);
        }
        // A version on which the host's API never comes up has to be judged, too.
        let Some(partial) = failure.partial.filter(|_| now.boot >= BLIND && automatic) else { return Vec::new() };
        match classify_blindly(&intent, &stage, &partial) {
            Some(Finding::SameBoot) => self.restarted(intent, stage),
            Some(_) => self.booted(intent, stage, partial.boot, now),
            None => Vec::new(),
        }
    }

    /// Only the agent was restarted.
    fn restarted(&mut self, intent: Intent, stage: Checkpoint) -> Vec<Effect> {
        match stage {
            Checkpoint::Verifying { boot, boots, since } => self.verify(intent, boot, boots, since),
            Checkpoint::RollingBack => self.roll_back(intent),
            Checkpoint::Preparing => self.withdraw(intent, false, "the agent was restarted in the middle"),
            Checkpoint::Activating | Checkpoint::Unknown => {
                self.withdraw(intent, true, "the agent was restarted in the middle")
            }
        }
    }

    /// The new version was booted.
    fn booted(&mut self, intent: Intent, stage: Checkpoint, boot: BootId, now: Now) -> Vec<Effect> {
        match stage {
            Checkpoint::RollingBack => self.roll_back(intent),
            Checkpoint::Verifying { boots, .. } if boots >= MAX_BOOTS => {
                let why = format!("the host rebooted {boots} times before there was a verdict");
                self.condemn(intent, why, Report::default(), now)
            }
            Checkpoint::Verifying { boots, .. } => self.verify(intent, boot, boots.saturating_add(1), now.boot),
            Checkpoint::Preparing | Checkpoint::Activating | Checkpoint::Unknown => {
                self.verify(intent, boot, 1, now.boot)
            }
        }
    }
}

fn was_rebooted(stage: &Checkpoint) -> bool {
    matches!(stage, Checkpoint::Verifying { .. } | Checkpoint::RollingBack)
}
