//! Nodes that take turns and tell each other.

use anyhow::{Context, ensure};
use meshdog_tests::fleetlock::Server;
use meshdog_tests::harness::Etcd;
use meshdog_tests::harness::updating::Updating;

use super::{Outcome, Workload, boots, settings, world};

#[test]
fn a_lock_server_is_held_over_the_reboot_until_the_verdict() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(Server::start(&[("default", 1)]))?;
    let lock = format!("[update.fleet]\nlock = \"fleetlock\"\nurl = \"{}\"\n", server.url());
    let mut node = Updating::start(&world.programs, &world.dir, "turns", &settings(1, &lock))?;
    node.offer(&["1.21.1"])?;
    node.until("the drain", boots, |update| update.phase == "draining")?;
    ensure!(server.holders("default").len() == 1, "{:?}", server.holders("default"));
    node.until("the new version", boots, |update| update.phase == "verifying")?;
    ensure!(server.holders("default").len() == 1, "{:?}", server.holders("default"));
    node.until("rest", boots, |update| update.phase == "idle" && update.ends() == [("1.21.1", "good")])?;
    // The lock is owed from the verdict on, and given back a moment later.
    node.until("the lock given back", boots, |_| server.holders("default").is_empty())?;
    Ok(())
}

#[test]
fn what_was_bad_on_one_node_is_not_taken_by_another() -> Outcome {
    let world = world()?;
    let workload = Workload::start(&world)?;
    let dir = world.dir.join("etcd");
    std::fs::create_dir_all(&dir)?;
    let etcd = Etcd::start(&dir)?;
    let fleet = format!("[update.fleet]\nlock = \"etcd\"\n[registry.etcd]\nendpoints = [\"{}\"]\n", etcd.url());
    let sick = workload.sick_on("1.21.1");

    let mut first = Updating::start(&world.programs, &world.dir, "first", &settings(1, &fleet))?;
    first.offer(&["1.21.1"])?;
    first.until("the rollback", &sick, |update| update.phase == "idle" && update.refused == ["1.21.1"])?;
    first.agent.terminate()?;

    let mut second = Updating::start(&world.programs, &world.dir, "second", &settings(1, &fleet))?;
    second.offer(&["1.21.1"])?;
    second.say(&["check"])?;
    let update = second.until("the refusal", boots, |update| update.refused == ["1.21.1"])?;
    ensure!(update.why.contains("first") && update.history.is_empty(), "{update:?}");
    ensure!(second.version_lock()? == "latest", "only the node that took it back is locked");

    second.say(&["allow", "1.21.1"])?;
    let update = second.until("the update", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "good")], "{update:?}");
    second.until("rest", boots, |update| update.phase == "idle")?;
    second.agent.terminate()?;

    first.agent.restart()?;
    first.say(&["check"])?;
    let update = first.until("the update", boots, |update| update.ends().len() == 2)?;
    ensure!(update.ends().get(1) == Some(&("1.21.1", "good")), "lifted everywhere: {update:?}");
    first.version_lock().context("the lock")?;
    Ok(())
}
