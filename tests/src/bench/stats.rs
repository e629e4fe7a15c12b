//! From single latencies to figures.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Latencies in the order they were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Percentiles in microseconds, in the order asked for. Fails where nothing was measured.
    pub(crate) fn percentiles<const N: usize>(mut self, percents: [f64; N]) -> Result<[f64; N]> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1).context("nothing was measured")?;
        Ok(percents.map(|percent| {
            let at = (last as f64 * percent / 100.0).round() as usize;
            self.0.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
        }))
    }
}

/// What one round of load on one leg gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Half of the answers came within this many microseconds.
    pub(crate) p50: f64,
    /// All but a hundredth came within this many microseconds.
    pub(crate) p99: f64,
}

impl Sample {
    pub(crate) fn new(latencies: Latencies, length: Duration) -> Result<Self> {
        let rate = latencies.0.len() as f64 / length.as_secs_f64();
        let [p50, p99] = latencies.percentiles([50.0, 99.0])?;
        Ok(Self { rate, p50, p99 })
    }
}

/// The middle of some values; of an even number the mean of the two in the middle. NaN of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(&upper), 0) => values.get(middle - 1).map_or(upper, |&lower| f64::midpoint(lower, upper)),
        (Some(&value), _) => value,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests;
