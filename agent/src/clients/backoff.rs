//! When something that failed is tried again: after waits that double up to a longest one.
//!
//! Whoever tries again has a constant of its own, made here: `const RETRY: Backoff = Backoff::new(FIRST, LONGEST);`.
//! Then it either takes the waits one by one ([`Backoff::delays`]), asks for one by its number ([`Backoff::after`],
//! where the number of failures is kept elsewhere), or hands all to [`backon::Retryable`] (a `Backoff` is a
//! [`BackoffBuilder`]). Never sleeps and never reads a clock. Only [`Backoff::jittered`] leaves anything to chance.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits that double. Plain data.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    builder: ExponentialBuilder,
    longest: Duration,
}

/// The waits of one series of failures, without end.
#[derive(Debug)]
pub struct Delays {
    backoff: Backoff,
    series: ExponentialBackoff,
}

impl Backoff {
    /// The first wait, which doubles with each failure up to the longest. Without end.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times();
        Self { builder, longest }
    }

    /// The same, each wait longer by a random part of itself, up to twice: for what many would else do at one time.
    #[must_use]
    pub const fn jittered(mut self) -> Self {
        self.builder = self.builder.with_jitter();
        self
    }

    /// The same, given up once so much was waited altogether. For [`backon::Retryable`]; [`Delays`] have no end.
    #[must_use]
    pub const fn within(mut self, total: Duration) -> Self {
        self.builder = self.builder.with_total_delay(Some(total));
        self
    }

    /// The waits one by one, from the first.
    #[must_use]
    pub fn delays(self) -> Delays {
        Delays { backoff: self, series: self.builder.build() }
    }

    /// The wait after this many failures before the one at hand: 0 gives the first. The longest has always come by 64.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let nth = usize::try_from(failures.min(64)).unwrap_or_default();
        self.builder.build().nth(nth).map_or(self.longest, whole)
    }
}

impl Delays {
    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        self.series.next().map_or(self.backoff.longest, whole)
    }

    /// It worked: the next failure begins with the first wait again.
    pub fn reset(&mut self) {
        self.series = self.backoff.builder.build();
    }
}

/// To the nearest microsecond: backon doubles seconds as a float, which makes a little less than 40 ms of 20.
fn whole(wait: Duration) -> Duration {
    Duration::from_nanos_u128((wait.as_nanos() + 500) / 1000 * 1000)
}

impl BackoffBuilder for Backoff {
    type Backoff = ExponentialBackoff;

    fn build(self) -> Self::Backoff {
        self.builder.build()
    }
}

#[cfg(test)]
mod tests;
