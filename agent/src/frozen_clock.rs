//! For unit tests on real sockets: tokio's clock, standing still until a test moves it.
//!
//! A paused clock by itself jumps to the next timer whenever the runtime is idle, so also while an answer is still on
//! its way over loopback. Frozen, no deadline passes but by the test's own word, however slow the machine is, and what
//! is waited for is a state. A test that waits in vain fails all the same: after [`PATIENCE`] the clock is let go, and the
//! test's own time-outs come.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time;

/// How long a test may wait for a state, by the clock on the wall.
const PATIENCE: Duration = Duration::from_secs(60);

/// What tokio counts time in.
const TICK: Duration = Duration::from_millis(1);

/// How many turns of the runtime a step in time is given to take effect.
const TURNS: usize = 50;

/// The clock of the calling test's runtime, which must be a current-thread one, frozen for as long as this lives.
pub(crate) struct FrozenClock {
    /// A blocking task, while which tokio does not move a paused clock; it ends with this.
    hold: mpsc::Sender<()>,
}

impl Drop for FrozenClock {
    fn drop(&mut self) {
        let held = self.hold.send(()).is_ok();
        assert!(held || std::thread::panicking(), "what was waited for came only once the clock was let go");
    }
}

impl FrozenClock {
    /// Freezes the clock, which must not be paused yet.
    pub(crate) fn new() -> Self {
        let (hold, held) = mpsc::channel();
        tokio::task::spawn_blocking(move || held.recv_timeout(PATIENCE));
        time::pause();
        Self { hold }
    }

    /// Moves the clock just beyond `by`, since tokio rounds its timers up; what falls due runs when the caller next
    /// waits.
    pub(crate) async fn advance(&self, by: Duration) {
        time::advance(by + TICK).await;
    }

    /// Gives whoever is due his turns, at a standstill.
    pub(crate) async fn settle(&self) {
        for _ in 0..TURNS {
            yield_now().await;
        }
    }

    /// Moves the clock step by step until something holds. Between two steps whoever is due has his turns.
    pub(crate) async fn advance_until(&self, step: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        loop {
            for _ in 0..TURNS {
                if holds() {
                    return;
                }
                yield_now().await;
            }
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
            self.advance(step).await;
        }
    }
}
