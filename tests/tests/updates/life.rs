//! Updates that go well, and those that do not.

use std::time::Duration;

use anyhow::ensure;
use meshdog_tests::harness::updating::Updating;
use meshdog_tests::harness::{Run, eventually};

use super::{Outcome, Workload, boots, node, settings, world};

#[test]
fn a_good_update_is_taken_judged_and_kept() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "good", "")?;
    let labels = ["meshdog.web.port=8080", "meshdog.web.alias=web:80"];
    let _web = world.docker.run("web", Run::labels(&labels), "serve --name web --port 8080")?;
    node.agent.healthy("web", 1)?;

    node.offer(&["1.21.1", "1.20.5"])?;
    node.until("the drain", boots, |update| update.phase == "draining")?;
    node.agent.service("web", |web| web.endpoints.iter().all(|endpoint| endpoint.state == "draining"))?;
    node.until("the new version to be judged", boots, |update| update.phase == "verifying")?;
    let update = node.until("the verdict", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "good")], "{update:?}");
    ensure!(node.running()? == "1.21.1" && update.refused.is_empty(), "{update:?}");
    // The endpoints come back.
    node.agent.healthy("web", 1)?;
    let idle = node.until("rest", boots, |update| update.phase == "idle")?;
    ensure!(idle.running.as_deref() == Some("1.21.1"), "{idle:?}");
    Ok(())
}

#[test]
fn a_version_that_never_boots_is_refused_and_a_newer_one_is_not() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    let mut node = node(&world, "fallback", "")?;
    let but_one = |version: &str| version != "1.21.1";
    node.offer(&["1.21.1"])?;
    let update = node.until("the fallback", but_one, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "fell-back")], "{update:?}");
    node.until("the refusal", but_one, |update| update.phase == "idle" && update.refused == ["1.21.1"])?;
    ensure!(node.running()? == "1.20.5" && node.version_lock()? == "1.20.5");

    // It stays on offer, and the host's own memory of all this is gone.
    node.power_cycle(but_one)?;
    node.say(&["check"])?;
    let update = node.until("rest", but_one, |update| update.phase == "idle")?;
    ensure!(update.ends().len() == 1 && update.refused == ["1.21.1"], "{update:?}");

    node.offer(&["1.21.2", "1.21.1"])?;
    node.say(&["check"])?;
    let update = node.until("the newer one", but_one, |update| update.ends().len() == 2)?;
    ensure!(update.ends()[1] == ("1.21.2", "good"), "{update:?}");
    eventually(Duration::from_secs(15), "the lock to be as it was", || {
        ensure!(node.version_lock()? == "latest");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_version_on_which_workloads_do_worse_is_taken_back_for_good() -> Outcome {
    let world = world()?;
    let workload = Workload::start(&world)?;
    let mut node = node(&world, "rollback", "")?;
    let sick = workload.sick_on("1.21.1");
    node.offer(&["1.21.1"])?;
    let update = node.until("the rollback", &sick, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "rolled-back")], "{update:?}");
    ensure!(update.history[0].why.contains("http"), "{update:?}");
    let update = node.until("rest", &sick, |update| update.phase == "idle")?;
    ensure!(update.refused == ["1.21.1"] && node.running()? == "1.20.5", "{update:?}");
    ensure!(node.version_lock()? == "1.20.5");
    let disk = node.disk()?;
    ensure!(disk.to_string().contains("\"priority\":2"), "{disk}");

    node.power_cycle(&sick)?;
    node.say(&["check"])?;
    let update = node.until("rest", &sick, |update| update.phase == "idle")?;
    ensure!(update.ends().len() == 1, "{update:?}");

    // A person knows better, twice; then it is enough.
    node.say(&["allow", "1.21.1"])?;
    let update = node.until("the second rollback", &sick, |update| update.ends().len() == 2)?;
    ensure!(update.ends()[1] == ("1.21.1", "rolled-back"), "{update:?}");
    node.until("the limit", &sick, |update| update.phase == "held" && update.held.is_some())?;
    node.say(&["allow", "1.21.1"])?;
    node.say(&["check"])?;
    let update = node.update()?;
    ensure!(update.phase == "held" && update.ends().len() == 2, "{update:?}");
    // Resumed where the workload does well on it.
    node.say(&["resume"])?;
    let update = node.until("the third", boots, |update| update.ends().len() == 3)?;
    ensure!(update.ends()[2].0 == "1.21.1", "{update:?}");
    Ok(())
}

#[test]
fn no_verdict_by_the_deadline_is_a_bad_one() -> Outcome {
    let world = world()?;
    let _workload = Workload::start(&world)?;
    // The host's API is asked every 5 s; nothing may settle before that.
    let mut node = Updating::start(&world.programs, &world.dir, "deadline", &settings(8, ""))?;
    node.offer(&["1.21.1"])?;
    node.until("the new version", boots, |update| update.phase == "verifying")?;
    // The host's API dies, and so it cannot even be asked to reboot for a while.
    node.control("PUT", "/presence", &"dead".into())?;
    eventually(Duration::from_secs(30), "the rollback", || {
        let update = node.update()?;
        ensure!(update.phase == "rolling-back", "{update:?}");
        Ok(())
    })?;
    node.control("PUT", "/presence", &"up".into())?;
    let update = node.until("the rollback", boots, |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.1", "rolled-back")], "{update:?}");
    ensure!(update.history[0].why.contains("host-api"), "{update:?}");
    Ok(())
}
