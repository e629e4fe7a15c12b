//! What runs inside containers under test: a server that says who it is, a client that counts who answered, a DNS
//! client that can keep its port, one that asks every kind of question, an attacker, the resolver of the world outside, and a scripted
//! DNS server. Every result is one JSON document on stdout.
//!
//! Only std's sockets and threads: what is measured must not depend on a runtime of ours.

pub mod ask;
pub mod attack;
pub mod dial;
pub mod dns;
pub mod questions;
pub mod resolve;
pub mod resolver;
pub mod scripted;
pub mod serve;

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use nix::sys::signal::{SigSet, Signal};

/// When the first SIGTERM or SIGINT came; what runs until it is told to stop looks here.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<OnceLock<SystemTime>>);

impl Stop {
    /// Takes over SIGTERM and SIGINT. Call before any thread is started: they inherit that the signals are blocked.
    ///
    /// # Errors
    /// When the kernel refuses the signal mask or another thread.
    pub fn on_signal() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        let stop = Self::default();
        let told = stop.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if signals.wait().is_ok() {
                let _ = told.0.set(SystemTime::now());
            }
        })?;
        Ok(stop)
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.get().is_some()
    }

    /// When it was requested.
    #[must_use]
    pub fn when(&self) -> Option<SystemTime> {
        self.0.get().copied()
    }
}

/// Prints one JSON document as a line on stdout.
///
/// # Errors
/// When stdout is closed.
pub fn report(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}
