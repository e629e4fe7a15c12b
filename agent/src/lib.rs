//! meshdog: one process per Bottlerocket node that lets every container reach every service by name.
//!
//! Data flows one way through the modules, in this order:
//!
//! ```text
//! config ─┐
//! watch ──┴─> health ─> registry ─> mesh ─> dataplane
//!                                     ├───> dns
//!                                     └───> telemetry
//! ```
//!
//! One thing comes the other way, from the kernel: how connections to endpoints fare (`health::passive`).
//!
//! Pure functions decide (`watch::offers`, `mesh`, `dataplane::plan`), thin tasks act. Snapshots travel as
//! persistent maps over `tokio::sync::watch`; each resource has one owner task. `app` connects them; `cli` starts it,
//! and asks the running agent over its admin socket.

pub mod app;
mod causes;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod dns;
pub mod health;
pub mod mesh;
pub mod model;
pub mod registry;
pub mod telemetry;
pub mod update;
pub mod watch;
