//! What takes long: a node whose parts are killed in a loop, a hostile container, the runtimes that programs are written
//! in. Each a suite of its own, by name only: `tests/run churn`, `hostile-hour`, `runtimes`.

mod churn;
mod hostile_hour;
mod runtimes;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Node, Running};

/// What every scenario returns: an error fails it, with all that led to it.
type Outcome = anyhow::Result<()>;

/// A name server outside that never answers.
const SILENT: &str = "10.77.0.251";

/// A node of its own.
fn node() -> anyhow::Result<Node> {
    let programs = std::env::var("MESHDOG_PROGRAMS").context("run this with tests/run")?;
    let node = Node::start(&PathBuf::from(programs), "")?;
    node.docker.remove_all()?;
    Ok(node)
}

/// Starts that name server; it, and the directory of this world.
fn start_silent_server(node: &Node) -> anyhow::Result<(Running, String)> {
    let world = std::env::var("MESHDOG_WORLD")?;
    let ip = ["-n", "outside", "address", "add", &format!("{SILENT}/24"), "dev", "eth0"];
    ensure!(Command::new("ip").args(ip).status()?.success());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "outside"]).arg(node.program("testbox"));
    command.args(["scripted", "--silent", "--listen", SILENT]);
    let silent = Running::start(format!("{world}/silent.log").as_ref(), &mut command)?;
    Ok((silent, world))
}
