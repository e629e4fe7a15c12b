//! Desired state: which VIP stands for which service, and which endpoint takes which slot.
//!
//! Everything here is pure but for [`task`], which hands it its inputs and keeps the VIPs on disk.

mod claims;
pub mod desired;
mod known;
mod reach;
pub mod select;
pub mod slots;
pub mod task;
pub mod vip;

pub use desired::{Mesh, MeshSnapshot};
