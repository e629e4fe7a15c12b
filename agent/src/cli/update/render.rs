//! The update's status for people, lines of at most a hundred columns.

use jiff::Timestamp;

use crate::cli::text::{age, line, paragraph};
use crate::telemetry::status::UpdateStatus;
use crate::update::verify::Check;

pub(super) fn render(update: &UpdateStatus, now: Timestamp) -> String {
    let mut out = String::new();
    current(&mut out, update, now);
    remembered(&mut out, update, now);
    judged(&mut out, update, now);
    out
}

/// Where it is.
fn current(out: &mut String, update: &UpdateStatus, now: Timestamp) {
    let mut row = |name: &str, text: &str| paragraph(out, &format!("{name:<13}"), text);

    row("phase", &format!("{}: {}", update.phase, update.why));
    if let Some(until) = update.until {
        row("until", &moment(until, now));
    }
    row("running", update.running.as_deref().unwrap_or("not known"));
    match (&update.from, &update.to, &update.chosen) {
        (Some(from), Some(to), _) => row("update", &format!("{from} -> {to}")),
        (_, _, Some(chosen)) => row("chosen", &chosen.to_string()),
        _ => row("chosen", "none"),
    }
    if let Some(connections) = update.connections {
        row("connections", &format!("{connections} left"));
    }
    if let Some(trouble) = &update.trouble {
        row("trouble", trouble);
    }
}

/// What it keeps to.
fn remembered(out: &mut String, update: &UpdateStatus, now: Timestamp) {
    let mut row = |name: &str, text: &str| paragraph(out, &format!("{name:<13}"), text);

    if let Some(held) = &update.held {
        row("held", &format!("for {}: {}; meshdog update resume lets updates go on", age(held.since, now), held.why));
    }
    if update.rollbacks > 0 {
        row("taken back", &format!("{} since the last resume", update.rollbacks));
    }
    for refusal in &update.refusals {
        let (version, by, since) = (&refusal.version, &refusal.by, age(refusal.at, now));
        row("refused", &format!("{version} for {since}, said by {by}: {}", refusal.why));
    }
    for version in update.refused.iter().filter(|version| update.refusals.iter().all(|it| it.version != **version)) {
        row("refused", &format!("{version} by update.refuse"));
    }
    if let Some(retry) = &update.retry {
        let again = moment(retry.at, now);
        row("attempts", &format!("{} of {}, the next from {again}: {}", retry.attempts, retry.version, retry.why));
    }
    if let Some(lock) = &update.version_lock {
        row("version-lock", &format!("kept at {} since a rollback; was {}", lock.to, lock.before));
    }
    if let Some(checked) = update.checked_at {
        row("looked", &format!("{} ago", age(checked, now)));
    }
}

/// What versions were judged by, and what came of updates.
fn judged(out: &mut String, update: &UpdateStatus, now: Timestamp) {
    if !update.checks.is_empty() {
        out.push('\n');
        line(out, "the last look at every check");
        checks(out, &update.checks);
    }
    if let Some(verdict) = &update.verdict {
        out.push('\n');
        let word = if verdict.good { "good" } else { "bad" };
        let lead = format!("{} was found {word} {} ago: ", verdict.version, age(verdict.at, now));
        paragraph(out, "", &(lead + &verdict.why));
        checks(out, &verdict.checks);
    }
    if !update.history.is_empty() {
        out.push('\n');
        line(out, "the last updates");
    }
    for past in &update.history {
        let text = format!("{} -> {} {}: {}", past.from, past.to, past.end.as_str(), past.why);
        paragraph(out, &format!("  {:.0}  ", past.at), &text);
    }
}

fn checks(out: &mut String, checks: &[Check]) {
    for check in checks {
        let lead = if check.ok { "  ok    " } else { "  FAIL  " };
        paragraph(out, lead, &format!("{}: {}", check.name, check.found));
    }
}

/// A moment to come, and how long it is until then.
fn moment(at: Timestamp, now: Timestamp) -> String {
    let left = if at > now { format!("in {}", age(now, at)) } else { "now".to_owned() };
    format!("{at:.0} ({left})")
}

#[cfg(test)]
mod tests;
