//! The first look after the agent's start: what became of an update that was under way.

use std::time::Duration;

use super::{BootId, Effect, End, Facts, Intent, Now, Past, Phase, Rest, Stage, State, Trouble};
use crate::config::update::UpdateMode;
use crate::update::boot::{Finding, classify, classify_blindly, failed_to_boot};
use crate::update::verify::Report;

/// How long after a boot the host's API is waited for before an update is judged without it.
const BLIND: Duration = Duration::from_secs(120);
/// How many boots a verdict may take.
const MAX_BOOTS: u32 = 3;

impl State {
    /// The first look after the agent's start.
    pub(super) fn woke(
        &mut self,
        underway: Option<(Intent, Stage)>,
        looked: Result<Box<Facts>, Trouble>,
        now: Now,
    ) -> Vec<Effect> {
        match (underway, looked) {
            (None, Ok(facts)) => self.woke_at_rest(&facts, now),
            (Some((intent, stage)), Ok(facts)) => {
                self.memory.running = Some(facts.running.clone());
                self.memory.unexplained = failed_to_boot(&facts);
                match classify(&intent, &stage, &facts) {
                    Finding::SameBoot | Finding::Updated if self.settings.mode != UpdateMode::Automatic => {
                        // What is prepared in this boot is undone; what runs is kept.
                        if !Self::was_rebooted(&stage) && intent.boot == facts.boot {
                            let activated = stage != Stage::Preparing;
                            return self.withdraw(intent, activated, "update.mode is no longer automatic");
                        }
                        self.end(&intent, End::Unjudged, "update.mode is no longer automatic", now)
                    }
                    Finding::SameBoot => self.goes_on(intent, stage),
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
                    Finding::NotActivated => {
                        self.end(&intent, End::Withdrawn, "it was cut short before its reboot", now)
                    }
                    Finding::Foreign(why) => self.end(&intent, End::Foreign, why, now),
                }
            }
            (None, Err(trouble)) if trouble.unsupported => {
                self.phase = Phase::Resting(Rest::default());
                Vec::new()
            }
            // Nobody could judge it, or take it back. Where there still are two banks, it is the new version's doing.
            (Some((intent, _)), Err(Trouble { why, unsupported: true, seen }))
                if seen.is_none() || self.settings.mode != UpdateMode::Automatic =>
            {
                self.end(&intent, End::Foreign, why, now)
            }
            // A version on which the host's API never comes up has to be judged, too.
            (Some((intent, stage)), Err(Trouble { seen: Some(seen), .. }))
                if now.boot >= BLIND && self.settings.mode == UpdateMode::Automatic =>
            {
                match classify_blindly(&intent, &stage, &seen) {
                    Some(Finding::SameBoot) => self.goes_on(intent, stage),
                    Some(_) => self.booted(intent, stage, seen.boot, now),
                    None => Vec::new(),
                }
            }
            (_, Err(_)) => Vec::new(),
        }
    }

    pub(super) fn woke_at_rest(&mut self, facts: &Facts, now: Now) -> Vec<Effect> {
        self.phase = Phase::Resting(Rest::default());
        let ran = self.memory.running.replace(facts.running.clone());
        if let Some(from) = ran.filter(|ran| *ran != facts.running) {
            let why = "somebody else changed what runs".into();
            self.remember(Past { at: now.wall, from, to: facts.running.clone(), end: End::Foreign, why });
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

    /// Only the agent was restarted.
    pub(super) fn goes_on(&mut self, intent: Intent, stage: Stage) -> Vec<Effect> {
        match stage {
            Stage::Verifying { boot, boots, since } => self.verify(intent, boot, boots, since),
            Stage::RollingBack => self.roll_back(intent),
            Stage::Preparing => self.withdraw(intent, false, "the agent was restarted in the middle"),
            Stage::Activating | Stage::Unknown => self.withdraw(intent, true, "the agent was restarted in the middle"),
        }
    }

    /// The new version was booted.
    pub(super) fn booted(&mut self, intent: Intent, stage: Stage, boot: BootId, now: Now) -> Vec<Effect> {
        match stage {
            Stage::RollingBack => self.roll_back(intent),
            Stage::Verifying { boots, .. } if boots >= MAX_BOOTS => {
                let why = format!("the host rebooted {boots} times before there was a verdict");
                self.condemn(intent, why, Report::default(), now)
            }
            Stage::Verifying { boots, .. } => self.verify(intent, boot, boots.saturating_add(1), now.boot),
            Stage::Preparing | Stage::Activating | Stage::Unknown => self.verify(intent, boot, 1, now.boot),
        }
    }

    pub(super) fn was_rebooted(stage: &Stage) -> bool {
        matches!(stage, Stage::Verifying { .. } | Stage::RollingBack)
    }
}
