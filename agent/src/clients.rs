//! How the agent reaches what is outside of it: one client of each kind, for every module that needs one.
//!
//! Owns how long and how much of an answer is waited for, and when something that failed is tried again. Knows no
//! module above it: what is asked, and what an answer means, is theirs.

pub mod backoff;
pub mod etcd;
pub mod http;
