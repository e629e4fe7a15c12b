//! The node's own update: takes Bottlerocket's A/B updates in turn with the fleet, judges them by the workloads after the
//! reboot, and takes them back.
//!
//! `machine` decides, purely. `task` does what it is told to through `host` (the Bottlerocket API), `banks` (signpost),
//! `fleet` (locks, refusals), `verify` (the health gate), `drain` and `journal`; `handle` is what others have of it,
//! `view` what they see. Receives how the rest of the agent is doing, emits the [`State`](machine::State) and whether
//! this node's endpoints take connections. Never touches an endpoint or a table itself.

pub mod banks;
mod clock;
pub mod drain;
pub mod fleet;
mod handle;
pub mod host;
pub mod journal;
pub mod machine;
pub mod summary;
mod task;
pub mod verify;

pub use self::clock::now;
pub use self::handle::{CommandError, Handle, Metrics};
pub use self::task::Task;

#[cfg(test)]
pub(crate) mod tests;
