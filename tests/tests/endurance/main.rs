//! What takes long: a node whose parts are killed in a loop, a hostile container, the runtimes that programs are written
//! in. Each a suite of its own, by name only: `tests/run churn`, `hostile-hour`, `runtimes`.

mod churn;
mod hostile_hour;
mod runtimes;

use std::path::PathBuf;

use anyhow::Context;
use meshdog_tests::harness::Node;

/// What every scenario returns: an error fails it, with all that led to it.
type Outcome = anyhow::Result<()>;

/// A node of its own.
fn node() -> anyhow::Result<Node> {
    let programs = std::env::var("MESHDOG_PROGRAMS").context("run this with tests/run")?;
    let node = Node::start(&PathBuf::from(programs), "")?;
    node.docker.remove_all()?;
    Ok(node)
}
