//! Whether an update may begin now, and if not, what it waits for. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bottlerocket_settings::{CommandKind, CommandOutcome, UpdateState};
use jiff::Timestamp;
use semver::Version;

use super::facts::Facts;
use super::record::Memory;
use super::state::{Now, Reason, State};
use crate::config::update::UpdateMode;
use crate::model::untrusted;
use crate::update::fleet::{Board, Ruling};

/// The host's places in a wave: `settings.updates.seed` is below it (updog's `MAX_SEED`).
const SEEDS: u32 = 2048;
/// Versions on offer that are remembered.
const MAX_SEEN: usize = 64;

/// What to do about updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Stay(Reason),
    /// Begin the update to this version.
    Begin(Version),
}

/// The version that the host would take, if any.
#[must_use]
pub fn chosen(facts: &Facts) -> Option<Version> {
    Version::parse(&facts.updates.as_ref()?.chosen_update.as_ref()?.version).ok()
}

/// Whether an update may begin now.
#[must_use]
pub fn decide(state: &State, facts: &Facts, now: Now) -> Decision {
    let (settings, memory) = (&state.settings, &state.memory);
    let idle = |why: String| Decision::Stay(Reason::Idle(why.into()));
    let wait = |why: String, until| Decision::Stay(Reason::Waiting(why.into(), until));

    if settings.mode == UpdateMode::Off {
        return idle("update.mode is off".to_owned());
    }
    if let Some(who) = somebody_else(memory, facts) {
        return wait(who, None);
    }
    let Some(version) = chosen(facts) else {
        return idle(match (&memory.pin, &facts.version_lock) {
            (Some(pin), _) if pin.set => {
                format!("no update available; version-lock is kept at {} since a rollback", pin.to)
            }
            (_, Some(lock)) if lock != "latest" => {
                format!("no update available; settings.updates.version-lock is {lock}")
            }
            _ => "no update available".to_owned(),
        });
    };
    if version == facts.running {
        return idle(format!("{version}, which the host would take, runs"));
    }
    if settings.refuse.contains(&version) {
        return idle(format!("{version} is refused by update.refuse"));
    }
    if let Some(ruling) = refusal(memory, &version) {
        return idle(format!("{version} is refused since {}: {}, said by {}", ruling.at, ruling.why, ruling.by));
    }
    if settings.mode == UpdateMode::Check {
        return idle(format!("{version} is available; update.mode is check, so it is not taken"));
    }
    if let Some(held) = &memory.held {
        return wait(format!("updates are held: {}", held.why), None);
    }
    if let Some(retry) = memory.retry.as_ref().filter(|retry| retry.version == version && retry.at > now.wall) {
        return wait(format!("the last attempt came to nothing: {}", retry.why), Some(retry.at));
    }
    let due = due(memory, &version, settings.delay, place(facts.seed, settings.wave), now.wall);
    if due > now.wall {
        return wait(format!("{version} has to be known for a while first (update.delay, update.wave)"), Some(due));
    }
    if !settings.open(now.wall) {
        return wait("no maintenance window is open (update.window)".to_owned(), settings.next_open(now.wall));
    }
    match &facts.board {
        Err(why) => return wait(format!("the fleet cannot be asked about {version}: {why}"), None),
        Ok(board) => {
            if let Some(open) = board.breaker(now.wall, settings.fleet.breaker) {
                return wait(format!("the fleet's rollout is stopped: {open}"), None);
            }
        }
    }
    if let Err(missing) = &facts.ready {
        return wait(format!("the node is not whole, so an update could not be judged: {missing}"), None);
    }
    Decision::Begin(version)
}

/// The word that refuses a version, if the newest word about it does.
#[must_use]
pub fn refusal<'a>(memory: &'a Memory, version: &Version) -> Option<&'a Ruling> {
    memory.rulings.get(version).filter(|ruling| ruling.refused)
}

/// Takes over what the fleet says: the newest word about each version counts.
pub fn learn(memory: &mut Memory, board: &Board) {
    for (version, word) in &board.rulings {
        if memory.rulings.get(version).is_none_or(|known| known.at < word.at) {
            memory.rulings.insert(version.clone(), word.clone());
            memory.untold.remove(version);
        }
    }
}

/// Remembers when versions were first seen, and forgets those that are no longer on offer. A host whose list is empty
/// has not found one since it booted.
pub fn note_offered(memory: &mut Memory, facts: &Facts, now: Timestamp) {
    let Some(updates) = facts.updates.as_ref().filter(|updates| !updates.available_updates.is_empty()) else { return };
    let offered = updates.available_updates.iter().filter_map(|version| Version::parse(version).ok());
    let newer = offered.filter(|version| *version > facts.running);
    let offered: BTreeSet<Version> = chosen(facts).into_iter().chain(newer).take(MAX_SEEN).collect();
    memory.seen.retain(|version, _| offered.contains(version));
    for version in offered {
        let first = memory.seen.entry(version).or_insert(now);
        // The clock was wrong when it was seen.
        *first = (*first).min(now);
    }
}

/// Who else is at work on this host's update, for people; `None` where nobody is.
#[must_use]
pub fn somebody_else(memory: &Memory, facts: &Facts) -> Option<String> {
    match facts.banks.next() {
        None => return Some("neither bank would boot; look at signpost status".to_owned()),
        Some(next) if next != facts.banks.active => {
            return Some(format!("somebody else told the next boot to take bank {next}"));
        }
        Some(_) => {}
    }
    let updates = facts.updates.as_ref()?;
    let staged = updates.staging_partition.as_ref().map(|staged| staged.image.version.as_str());
    match updates.update_state {
        UpdateState::Staged | UpdateState::Ready if !is_own(memory, facts) => {
            Some(format!("somebody else has staged {} (cancel it, or let it end)", staged.unwrap_or("an update")))
        }
        _ => None,
    }
}

/// Whether what is staged on the host was staged by this agent, and nobody touched it since.
#[must_use]
pub fn is_own(memory: &Memory, facts: &Facts) -> bool {
    let (Some(own), Some(updates)) = (&memory.own, &facts.updates) else { return false };
    let staged = updates.staging_partition.as_ref().map(|staged| &staged.image.version);
    own.boot == facts.boot
        && staged.is_some_and(|staged| *staged == own.staged.to_string())
        && updates
            .most_recent_command
            .as_ref()
            .is_some_and(|command| changes_nothing(command) || Some(&command.timestamp) == own.timestamp.as_ref())
}

/// Whether a command leaves what is staged as it is.
fn changes_nothing(command: &bottlerocket_settings::Command) -> bool {
    command.cmd_type == CommandKind::Refresh || command.cmd_status != CommandOutcome::Success
}

/// When this node's turn in the wave comes, after the delay.
fn place(seed: Option<u32>, wave: Duration) -> Duration {
    wave * seed.unwrap_or(0).min(SEEDS - 1) / SEEDS
}

fn due(memory: &Memory, version: &Version, delay: Duration, place: Duration, now: Timestamp) -> Timestamp {
    let first = memory.seen.get(version).copied().unwrap_or(now);
    first.checked_add(delay + place).unwrap_or(Timestamp::MAX)
}

/// The newest word wins, so a word that is to win is newer than any other.
#[must_use]
pub fn newer_than(known: Option<&Ruling>, now: Timestamp) -> Timestamp {
    let after = known.and_then(|known| known.at.checked_add(Duration::from_millis(1)).ok());
    after.map_or(now, |after| after.max(now))
}

/// Whether the lock that a rollback set has done its work: something newer than every refused version is on offer, or
/// nothing newer than what runs is refused any more, or something else runs. It goes on where a refused version would be
/// locked to without it.
#[must_use]
pub fn pin_is_over(memory: &Memory, facts: &Facts) -> bool {
    let Some(pin) = &memory.pin else { return true };
    if pin.to != facts.running {
        return true;
    }
    let before = Version::parse(pin.before.trim_start_matches('v'));
    if before.is_ok_and(|before| refusal(memory, &before).is_some()) {
        return false;
    }
    let refused = memory.rulings.iter().filter(|(version, ruling)| ruling.refused && **version > facts.running);
    let Some(worst) = refused.map(|(version, _)| version).max() else { return true };
    let offered = facts.updates.iter().flat_map(|updates| &updates.available_updates);
    offered.filter_map(|version| Version::parse(version).ok()).any(|version| version > *worst)
}

/// A sentence as it stands in the journal: bounded, whoever wrote it.
#[must_use]
pub fn sentence(text: &str) -> Arc<str> {
    untrusted::one_line(text, 500).into()
}

#[cfg(test)]
mod tests;
