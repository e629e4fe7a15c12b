//! The node's own update.

pub mod banks;
pub mod fleet;
pub mod host;
pub mod journal;
pub mod verify;
