//! Names: how clients find the VIP behind an alias.
//!
//! [`served`] says which names may be told; [`hosts`] writes them into containers' hosts files, and [`dns`] answers
//! queries for them.

pub mod dns;
pub mod hosts;
pub mod served;
