//! The simulated Bottlerocket host, scenarios on real parts and the benchmark.

pub mod bench;
pub mod disk;
pub mod fleetlock;
pub mod harness;
pub mod host;
pub mod testbox;
pub mod vm;
