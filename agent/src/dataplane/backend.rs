//! What makes the clients of one network namespace reach services: nftables there, memory in tests.
//!
//! A backend owns what it programs and decides nothing. It lives in the namespace that it programs, is told whole rulesets
//! and plans, and tells when somebody else changed what it holds. What it holds stays when the backend is dropped: only
//! [`Backend::remove`] ends it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::plan::Plan;
use crate::model::{QueryPath, Ruleset};

/// Queries that are captured, and for how long from now.
pub(super) type Lease = (QueryPath, Duration);

/// Something that can be programmed with rulesets.
pub(super) trait Backend {
    /// Why it refused, or does not know what it holds now: what was asked for is to be written whole.
    type Error: Error + Send + Sync + 'static;

    /// Its name in status.
    const NAME: &'static str;

    /// Reads what a former agent left, and goes on with it if it is whole.
    fn adopt(&mut self) -> Result<Found, Self::Error>;

    /// Makes the changes, all or none. The plan must begin at what is held.
    fn apply(&mut self, plan: &Plan) -> Result<(), Self::Error>;

    /// Makes it hold this ruleset, whatever it held before, and these leases.
    fn install(&mut self, ruleset: &Ruleset, leases: &[Lease]) -> Result<(), Self::Error>;

    /// Whether what was installed is still there, at a cheap look.
    fn audit(&mut self) -> Result<bool, Self::Error>;

    /// Waits until somebody else changed what is held. Safe to cancel.
    fn foreign_change(&mut self) -> impl Future<Output = Result<ForeignChange, Self::Error>>;

    /// Lets DNS queries be captured by these leases and no others.
    fn set_leases(&mut self, leases: &[Lease]) -> Result<(), Self::Error>;

    /// Removes all that it ever held.
    fn remove(&mut self) -> Result<(), Self::Error>;
}

/// What a backend found at start.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Something that this agent would not have made, and why.
    Other(&'static str),
    /// What an agent of this build and these settings left, whole.
    Ours(Ruleset),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no table"),
            Self::Other(why) => write!(f, "a table of another agent: {why}"),
            Self::Ours(ruleset) => write!(f, "our table with {} frontends", ruleset.frontends.len()),
        }
    }
}

/// Somebody else's change to what a backend holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignChange {
    /// The first thing that was done.
    pub(super) what: String,
    /// Who did it: the program's name and process id, as the kernel tells them.
    pub(super) who: String,
}
