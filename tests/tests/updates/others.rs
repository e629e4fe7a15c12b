//! Somebody else is at work on the same host.

use std::time::Duration;

use anyhow::ensure;
use meshdog_tests::harness::eventually;
use serde_json::json;

use super::{Outcome, Workload, boots, journal, node, world};

#[test]
fn somebody_elses_update_is_given_way_to() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "foreign", "")?;
    node.say(&["hold"])?;
    node.offer(&["1.21.1"])?;
    for action in ["refresh-updates", "prepare-update"] {
        node.foreign(&format!("/actions/{action}"))?;
    }
    node.say(&["resume"])?;
    let update = node.until("way to be given", boots, |update| update.why.contains("somebody else"))?;
    ensure!(update.phase == "waiting" && update.history.is_empty(), "{update:?}");
    node.foreign("/actions/activate-update")?;
    eventually(Duration::from_secs(10), "the activation", || {
        let disk = node.disk()?;
        ensure!(disk["next"] == "B", "{disk}");
        Ok(())
    })?;
    node.foreign("/actions/reboot")?;
    let update = node.until("the change to be noticed", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "foreign")] && node.running()? == "1.21.1", "{update:?}");
    Ok(())
}

#[test]
fn a_foreign_prepare_in_the_middle_calls_the_update_off() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "between", "")?;
    node.offer(&["1.21.1"])?;
    node.until("the drain", boots, |update| update.phase == "draining")?;
    node.foreign("/actions/prepare-update")?;
    let update = node.until("the end", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "withdrawn")] && node.running()? == "1.20.5", "{update:?}");
    ensure!(update.history[0].why.contains("somebody else"), "{update:?}");
    Ok(())
}

#[test]
fn a_bank_that_is_gone_is_not_rolled_back_to() -> Outcome {
    let world = world()?;
    let workload = Workload::start(&world)?;
    let mut node = node(&world, "gone", "")?;
    let sick = workload.sick_on("1.21.1");
    node.offer(&["1.21.1"])?;
    node.until("the new version", &sick, |update| update.phase == "verifying")?;
    node.offer(&["1.21.2"])?;
    for action in ["refresh-updates", "prepare-update"] {
        node.foreign(&format!("/actions/{action}"))?;
    }
    let update = node.until("the end", &sick, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "kept")], "{update:?}");
    ensure!(update.history[0].why.contains("is gone") || update.history[0].why.contains("holds 1.21.2"), "{update:?}");
    let update = node.until("a hold", &sick, |update| update.phase == "held")?;
    ensure!(node.running()? == "1.21.1" && update.refused == ["1.21.1"], "{update:?}");
    Ok(())
}

#[test]
fn a_busy_host_is_waited_for() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "busy", "")?;
    node.control("PUT", "/updates", &json!({ "foreign_lock": "exclusive" }))?;
    node.offer(&["1.21.1"])?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(node.update()?.history.is_empty());
    node.control("PUT", "/updates", &json!({ "foreign_lock": "none", "takes_ms": 1500 }))?;
    let update = node.until("the update", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "good")], "{update:?}");
    Ok(())
}

#[test]
fn the_journal_lost_leaves_a_node_that_rests() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "lost", "")?;
    node.offer(&["1.21.1"])?;
    node.until("the new version", boots, |update| update.phase == "verifying")?;
    node.agent.kill()?;
    for slot in std::fs::read_dir(journal(&world, "lost"))? {
        let slot = slot?.path();
        if slot.to_string_lossy().contains("update-journal") {
            std::fs::remove_file(slot)?;
        }
    }
    node.agent.restart()?;
    let update = node.until("rest", boots, |update| update.phase == "idle")?;
    ensure!(update.history.is_empty() && node.running()? == "1.21.1", "{update:?}");
    Ok(())
}
