//! Names: how clients find the VIP behind an alias.
//!
//! [`served`] says which names may be told, [`dns`] answers queries for them.

pub mod dns;
pub mod served;
