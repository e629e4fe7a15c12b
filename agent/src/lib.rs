//! meshdog: one process per Bottlerocket node that lets every container reach every service by name.
//!
//! Data flows one way through the modules, in this order:
//!
//! ```text
//! config ──┐
//! sources ─┴─> health ─> registry ─> mesh ─> dataplane
//!                                      ├───> names
//!                                      └───> telemetry
//! ```
//!
//! Pure functions decide (`sources::offers`, `mesh`, `dataplane::plan`), thin tasks act. Snapshots travel as
//! persistent maps over `tokio::sync::watch`; each resource has one owner task. What more than one module speaks of is
//! in `model`; how the agent reaches the outside is in `clients`. `app` connects the modules; `cli` starts it, and asks
//! the running agent over its admin socket. `ARCHITECTURE.md` says who owns what, and why it is so.

pub mod app;
pub mod cli;
pub mod clients;
pub mod config;
pub mod dataplane;
#[cfg(test)]
mod frozen_clock;
#[cfg(any(test, fuzzing))]
pub mod fuzz_entry;
pub mod health;
pub mod mesh;
pub mod model;
pub mod names;
pub mod registry;
pub mod sources;
pub mod state_file;
pub mod telemetry;
mod until;
pub mod update;
