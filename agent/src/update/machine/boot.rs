//! What became of an update, as told after the fact by the journal, the version that runs and the banks. Pure.
//!
//! The banks' bits at each stage of an update, old bank | new bank as `{priority, tries left, successful}`
//! (core-kit `sources/updater/signpost/src/state.rs`, kernel-kit `packages/grub/0009-*.patch`):
//!
//! | stage | old | new | next boot |
//! |---|---|---|---|
//! | prepared | `{1 or 2,0,ok}` | `{0,1,no}` | old |
//! | activated | `{1,0,ok}` | `{2,1,no}` | new |
//! | booted once, not marked | `{1,0,ok}` | `{2,0,no}` | old: the firmware's fallback |
//! | marked successful | `{1,0,ok}` | `{2,0,ok}` | new, for ever |
//! | rolled back | `{2,0,ok}` | `{1,0,ok}` | old, for ever |

use std::sync::Arc;

use super::facts::{Facts, PartialFacts};
use super::record::{BootId, Checkpoint, Intent};
use crate::update::banks::Banks;

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The host has not rebooted since; only the agent was restarted.
    SameBoot,
    /// The new version runs.
    Updated,
    /// The old version runs again, since the new one did not get through its first boot.
    FellBack,
    /// The old version runs again, as this agent wanted.
    RolledBack,
    /// The old version runs again, as somebody else wanted.
    TakenBack,
    /// The old version runs, and the next boot was never told to take the new one.
    NotActivated,
    /// Somebody else did something; what, for people.
    Foreign(Arc<str>),
}

/// Tells what became of an update.
#[must_use]
pub fn classify(intent: &Intent, stage: &Checkpoint, facts: &Facts) -> Finding {
    let on_old_bank = facts.banks.active == intent.bank;
    if is_same_boot(intent, stage, &facts.boot) {
        return Finding::SameBoot;
    }
    if facts.running == intent.to && !on_old_bank {
        return Finding::Updated;
    }
    if facts.running != intent.from || !on_old_bank {
        return Finding::Foreign(
            format!(
                "{} runs from bank {}, neither {} nor {} as the update would have it",
                facts.running, facts.banks.active, intent.from, intent.to
            )
            .into(),
        );
    }
    let new = facts.banks.other;
    let never_activated = matches!(stage, Checkpoint::Preparing);
    match (facts.banks.next() == Some(intent.bank), new.priority > 0, new.successful) {
        (true, ..) if matches!(stage, Checkpoint::RollingBack) => Finding::RolledBack,
        (false, ..) => Finding::Foreign(
            format!("somebody else told the next boot to take bank {} ({new})", intent.bank.other()).into(),
        ),
        // The bank still holds what it held before the update.
        (true, _, true) if never_activated => Finding::NotActivated,
        (true, _, true) => Finding::TakenBack,
        (true, true, false) if never_activated => Finding::NotActivated,
        (true, true, false) => Finding::FellBack,
        (true, false, false) => Finding::NotActivated,
    }
}

/// The same for a host whose API does not answer, as it may be with a bad version: `None` where that has to be waited
/// for, since nothing bad runs.
#[must_use]
pub fn classify_blindly(intent: &Intent, stage: &Checkpoint, partial: &PartialFacts) -> Option<Finding> {
    if partial.banks.active == intent.bank {
        return None;
    }
    Some(if is_same_boot(intent, stage, &partial.boot) { Finding::SameBoot } else { Finding::Updated })
}

fn is_same_boot(intent: &Intent, stage: &Checkpoint, boot: &BootId) -> bool {
    match stage {
        Checkpoint::Verifying { boot: judged, .. } => judged == boot,
        _ => intent.boot == *boot,
    }
}

/// Whether the other bank failed to boot: it was told to, and used up its only try.
#[must_use]
pub fn failed_to_boot(facts: &Facts) -> bool {
    let other = facts.banks.other;
    other.priority > 0 && other.tries_left == 0 && !other.successful
}

/// Why the old bank must not be told to boot, for people; `None` where it may. It must still hold the version that ran
/// before: nobody has written to it since, and it has booted.
#[must_use]
pub fn rollback_barred(intent: &Intent, facts: &Facts) -> Option<String> {
    let old = intent.bank;
    if let Some(barred) = rollback_barred_by_banks(intent, &facts.banks) {
        return Some(barred);
    }
    if facts.running != intent.to {
        return Some(format!("{} runs, not {}", facts.running, intent.to));
    }
    match facts.updates.as_ref().and_then(|updates| updates.staging_partition.as_ref()) {
        Some(staged) if staged.image.version != intent.from.to_string() => {
            Some(format!("bank {old} holds {} by now, no longer {}", staged.image.version, intent.from))
        }
        _ => None,
    }
}

/// The same as far as the banks tell. A bank that was written to is not marked as successful any more.
#[must_use]
pub fn rollback_barred_by_banks(intent: &Intent, banks: &Banks) -> Option<String> {
    let (old, flags) = (intent.bank, banks.other);
    if banks.active == old {
        return Some(format!("bank {old}, which held {}, is the one that runs", intent.from));
    }
    if !flags.successful {
        return Some(format!("bank {old}, which held {}, is gone: somebody wrote to it since ({flags})", intent.from));
    }
    None
}

#[cfg(test)]
mod tests;
