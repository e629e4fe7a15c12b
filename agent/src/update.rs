//! The node's own update.

pub mod banks;
pub mod drain;
pub mod fleet;
pub mod journal;
pub mod verify;
