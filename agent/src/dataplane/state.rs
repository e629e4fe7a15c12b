//! What the dataplane says of itself to status, metrics and `doctor`.

use std::time::Duration;

/// How the dataplane is doing. Published by its owner task after every reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataplaneState {
    /// What programs the kernel: `nftables`.
    pub backend: &'static str,
    /// How many network namespaces hold our tables.
    pub namespaces: usize,
    /// Whether the kernel holds what was last desired. False until the first ruleset has been applied.
    pub in_sync: bool,
    /// How long the last successful apply took.
    pub last_apply: Duration,
    /// How often foreign changes to our tables were undone.
    pub repairs: u64,
    /// How often an apply failed.
    pub failures: u64,
}

/// One thing that the dataplane needs of the kernel, and whether this kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What is needed, such as `nftables numgen`.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// The kernel's answer, where it is not.
    pub why: Option<String>,
}
