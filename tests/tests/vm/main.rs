//! Scenarios on a node in a virtual machine, each on one of its own. Run by `tests/run vm`.

mod banks;

/// What every scenario returns: an error fails it, with all that led to it.
type Outcome = anyhow::Result<()>;
