//! Desired state: which VIP stands for which service, and which endpoint takes which slot.
//!
//! Everything here is pure but for [`task`], which hands it its inputs and keeps the VIPs on disk, and [`range`], which
//! keeps the ranges that they are taken from.

mod claims;
pub mod desired;
mod drains;
mod known;
pub mod range;
mod reach;
pub mod select;
pub mod slots;
pub mod snapshot;
pub mod task;
mod vantages;
pub mod vip;

pub use desired::Mesh;
pub use snapshot::MeshSnapshot;
