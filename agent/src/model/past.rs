//! What became of containers that ended here.

use std::sync::Arc;

/// How far back beginnings are counted when people are told of a loop.
const LOOP_WINDOW_MS: u64 = 600_000;
/// How many beginnings within that time are a loop.
const LOOPS: usize = 3;

/// One container's recent past: when it began, and how it last ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Its Docker name; empty where nobody has said it.
    pub name: Arc<str>,
    /// The services that its labels name, `[namespace/]name`, in the order of their names.
    pub services: Arc<[Box<str>]>,
    /// When it last began, in milliseconds since the Unix epoch, oldest first; a bounded number of times.
    pub starts_ms: Vec<u64>,
    /// How it last ended; `None`: not since it is watched.
    pub end: Option<End>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its exit code, where Docker says it.
    pub exit_code: Option<i32>,
    /// Whether the kernel had run out of memory for it.
    pub out_of_memory: bool,
    /// Whether somebody had told it to stop.
    pub stopped: bool,
    /// Whether Docker has removed it since, and its logs with it.
    pub removed: bool,
}

impl Past {
    /// How often it began within the ten minutes before a moment.
    #[must_use]
    pub fn recent_starts(&self, now_ms: u64) -> usize {
        self.starts_ms.iter().filter(|at| at.saturating_add(LOOP_WINDOW_MS) >= now_ms).count()
    }

    /// Whether it ends and begins again by itself, over and over.
    #[must_use]
    pub fn loops(&self, now_ms: u64) -> bool {
        self.recent_starts(now_ms) >= LOOPS && self.end.is_some_and(|end| !end.stopped)
    }

    /// How it ended and how often it began, for people; `None` where it has not ended.
    #[must_use]
    pub fn told(&self, now_ms: u64) -> Option<String> {
        let end = self.end?;
        let mut told = match end.exit_code {
            Some(code) => format!("exited with code {code}"),
            None => "ended".to_owned(),
        };
        if end.out_of_memory {
            told.push_str(" (out of memory)");
        }
        told.push_str(&format!(" {} ago", age(now_ms.saturating_sub(end.at_ms))));
        if end.stopped {
            told.push_str(", after it was told to stop");
        }
        let starts = self.recent_starts(now_ms);
        if starts > 1 {
            told.push_str(&format!("; started {starts} times in the last {} minutes", LOOP_WINDOW_MS / 60_000));
        }
        let looped = self.loops(now_ms);
        if looped {
            told.push_str(": it restarts in a loop");
        }
        if end.removed {
            told.push_str("; it was removed, and its logs with it");
        } else if !end.stopped {
            told.push_str(&format!("{} see docker logs {}", if looped { "," } else { ";" }, self.name));
        }
        Some(told)
    }
}

/// A stretch of time in one unit.
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests;
