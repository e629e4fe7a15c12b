//! Which endpoints are avoided, as the next start of the agent is to know: the file that remembers ejections. Pure.
//!
//! A line of JSON, then its checksum. Whatever is amiss with it, nothing of it counts, and connections that fail decide
//! anew. Times are of the clock on the wall; one that is wrong avoids nobody for longer than any ejection holds.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::outlier::{LONGEST_EJECTION, RENEWED};
use crate::model::{ContainerId, Ejection, Endpoint, L4, Target};

/// The file in the state directory.
pub(super) const FILE: &str = "ejections.state";
/// A larger file is not ours.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// The most ejections that are remembered.
const MAX: usize = 65_536;
/// Of the format; a file of another one is not read.
const VERSION: u32 = 1;

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum EjectedError {
    #[error("it is cut short, or was changed")]
    Checksum,
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    #[error("it is of another version of meshdog")]
    Version,
}

/// Whose endpoint it is: of a container, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    container: ContainerId,
    started_ms: u64,
}

impl Life {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self { container: endpoint.container.clone(), started_ms: endpoint.started_ms }
    }
}

/// One ejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ejected {
    pub(super) target: Target,
    pub(super) life: Life,
    pub(super) ejection: Ejection,
    /// How many ejections have followed one another.
    pub(super) level: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    version: u32,
    ejected: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The transport's number.
    l4: u8,
    address: SocketAddr,
    life: Life,
    /// Until when, in milliseconds since the Unix epoch.
    until_ms: u64,
    level: u32,
    reason: String,
    proven: bool,
}

/// Writes ejections down. `now`: the time, and the same in milliseconds since the Unix epoch.
pub(super) fn write(out: &mut dyn Write, all: &[Ejected], now: (Instant, u64)) -> io::Result<()> {
    let line = |one: &Ejected| Line {
        l4: one.target.l4.number(),
        address: one.target.address(),
        life: one.life.clone(),
        until_ms: now.1.saturating_add(milliseconds(one.ejection.until.saturating_duration_since(now.0))),
        level: one.level,
        reason: one.ejection.reason.to_string(),
        proven: one.ejection.proven,
    };
    let body = Body { version: VERSION, ejected: all.iter().take(MAX).map(line).collect() };
    let body = serde_json::to_vec(&body)?;
    out.write_all(&body)?;
    writeln!(out, "\n{}", crc32fast::hash(&body))
}

/// Reads what [`write()`] wrote: who is still to be avoided at this time. Who is so by proof is for a moment in any case,
/// since only the agent's own connect ends that, and there will be one at once.
pub(super) fn read(bytes: &[u8], now: (Instant, u64)) -> Result<Vec<Ejected>, EjectedError> {
    let whole = bytes.strip_suffix(b"\n").ok_or(EjectedError::Checksum)?;
    let end = whole.iter().rposition(|byte| *byte == b'\n').ok_or(EjectedError::Checksum)?;
    let (body, sum) = whole.split_at(end);
    if serde_json::from_slice::<u32>(sum).ok() != Some(crc32fast::hash(body)) {
        return Err(EjectedError::Checksum);
    }
    let Body { version, ejected } = serde_json::from_slice(body)?;
    if version != VERSION {
        return Err(EjectedError::Version);
    }
    let read = |line: Line| {
        let left = Duration::from_millis(line.until_ms.saturating_sub(now.1)).min(LONGEST_EJECTION);
        let left = if line.proven { left.max(RENEWED) } else { left };
        let ejection = Ejection { until: now.0 + left, reason: line.reason.into(), proven: line.proven };
        let target = Target::new(L4::from_number(line.l4)?, line.address);
        Some(Ejected { target, life: line.life, ejection, level: line.level }).filter(|_| !left.is_zero())
    };
    Ok(ejected.into_iter().take(MAX).filter_map(read).collect())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
