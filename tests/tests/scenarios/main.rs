//! Scenarios on real parts: dockerd, containers, the kernel's tables, etcd, the agent as a process. One node for all,
//! one scenario at a time (`--test-threads=1`), each with services and containers of its own. Run by `tests/run
//! scenarios`.

mod break_it;
mod firewall;
mod fleet;
mod hostile;
mod hosts;
mod life;
mod names;
mod reach;
mod scale;

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use meshdog_tests::harness::{Container, Node, Run};

/// What every scenario returns: an error fails it, with all that led to it.
type Outcome = anyhow::Result<()>;

static NODE: LazyLock<Result<Mutex<Node>, String>> = LazyLock::new(|| {
    let programs = std::env::var("MESHDOG_PROGRAMS").map_err(|_| "run this with tests/run scenarios".to_owned())?;
    Node::start(&PathBuf::from(programs), "").map(Mutex::new).map_err(|error| format!("{error:?}"))
});

/// The node, without any container, with a running agent; whatever the scenario before has done to them.
fn node() -> anyhow::Result<MutexGuard<'static, Node>> {
    let node = NODE.as_ref().map_err(|error| anyhow!("the node did not start: {error}"))?;
    let mut node = node.lock().unwrap_or_else(PoisonError::into_inner);
    node.docker.remove_all()?;
    if !node.agent.alive() {
        node.agent.restart().context("after the scenario before")?;
    }
    Ok(node)
}

/// Servers named after the service, each on port 8080 and an endpoint of `SERVICE:80`, all healthy.
fn replicas(node: &Node, service: &str, count: usize, args: &str) -> anyhow::Result<Vec<Container>> {
    let labels = [format!("meshdog.{service}.port=8080"), format!("meshdog.{service}.alias={service}:80")];
    let labels = labels.each_ref().map(String::as_str);
    let start = |index| node.serve(&format!("{service}-{index}"), Run::labels(&labels), &format!("--port 8080 {args}"));
    let servers = (1..=count).map(start).collect::<anyhow::Result<_>>()?;
    node.agent.healthy(service, count)?;
    Ok(servers)
}
