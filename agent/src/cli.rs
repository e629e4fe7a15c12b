//! The subcommands, a file each.

pub mod client;
pub mod doctor;
pub mod explain;
pub mod status;
mod text;
