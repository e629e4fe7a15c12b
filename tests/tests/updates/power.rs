//! Power cuts, and agents that die, at any moment.

use std::time::Duration;

use anyhow::ensure;

use super::{Outcome, Workload, boots, node, world};

/// Where the power goes: when the update's status is first seen there, and so many milliseconds later.
const CUTS: [(&str, u64); 8] = [
    ("preparing", 0),
    ("draining", 1500),
    ("activating", 0),
    ("rebooting", 0),
    ("verifying", 0),
    ("verifying", 700),
    ("rolling-back", 0),
    ("rolling-back", 40),
];

#[test]
fn the_power_goes_at_every_stage_of_a_good_update() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    for (number, (phase, later)) in CUTS.into_iter().filter(|(phase, _)| *phase != "rolling-back").enumerate() {
        let mut node = node(&world, &format!("cut-good-{number}"), "")?;
        node.offer(&["1.21.1"])?;
        node.until(&format!("the phase {phase}"), boots, |update| update.phase == phase)?;
        std::thread::sleep(Duration::from_millis(later));
        node.asked_to_reboot()?;
        node.power_cycle(boots)?;
        // An attempt that was cut short waits before it is made again, unless a person says resume.
        node.until("rest after the cut", boots, |update| ["idle", "waiting"].contains(&update.phase.as_str()))?;
        node.say(&["resume"])?;
        let update = node.until("the update to end well", boots, |update| {
            update.history.last().is_some_and(|last| last.end == "good")
        })?;
        ensure!(node.running()? == "1.21.1" && update.refused.is_empty(), "cut at {phase}: {update:?}");
    }
    Ok(())
}

#[test]
fn the_power_goes_at_every_stage_of_a_bad_update() -> Outcome {
    let world = world()?;
    let workload = Workload::start(&world)?;
    let sick = workload.sick_on("1.21.1");
    for (number, (phase, later)) in CUTS.into_iter().enumerate() {
        sick("1.20.5");
        let mut node = node(&world, &format!("cut-bad-{number}"), "")?;
        node.offer(&["1.21.1"])?;
        node.until(&format!("the phase {phase}"), &sick, |update| update.phase == phase)?;
        std::thread::sleep(Duration::from_millis(later));
        node.asked_to_reboot()?;
        node.power_cycle(&sick)?;
        node.until("an end after the cut", &sick, |update| !update.history.is_empty())?;
        node.say(&["resume"])?;
        let update = node.until("the version to be refused", &sick, |update| {
            update.phase == "idle" && update.refused == ["1.21.1"]
        })?;
        ensure!(node.running()? == "1.20.5", "cut at {phase}: {update:?}");
        let taken_back = update.ends().iter().filter(|(_, end)| *end == "rolled-back").count();
        ensure!(taken_back == 1, "cut at {phase}: {update:?}");
    }
    Ok(())
}

#[test]
fn an_agent_that_is_killed_over_and_over_comes_to_an_end() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "killed", "")?;
    node.offer(&["1.21.1"])?;
    for round in 0..12_u64 {
        std::thread::sleep(Duration::from_millis(100 + 137 * round));
        node.agent.kill()?;
        if node.asked_to_reboot()? {
            node.power_cycle(boots)?;
        } else {
            node.agent.restart()?;
        }
        node.say(&["resume"])?;
    }
    let update = node.until("the update to end well", boots, |update| {
        update.history.last().is_some_and(|last| last.end == "good")
    })?;
    ensure!(node.running()? == "1.21.1", "{update:?}");
    Ok(())
}
