//! Both clocks that the machine goes by.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::machine::Now;

/// This moment. The clock of the boot goes on while the machine sleeps, and cannot fail on Linux.
#[must_use]
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Now { wall: Timestamp::now(), boot }
}
