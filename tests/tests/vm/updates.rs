//! Updates that go well, and those that do not.

use anyhow::{Context, ensure};
use meshdog_tests::harness::Status;
use meshdog_tests::vm::{Boots, Vm};

use super::{Outcome, automatic, marked, offered, serving};

#[test]
fn a_good_update_is_taken_judged_and_kept() -> Outcome {
    let mut vm = serving("good", Boots::Well, &automatic("90s", "15s"))?;
    let status: Status = vm.status()?;
    let orders = status.service("orders").and_then(|orders| orders.vip.clone()).context("no orders")?;
    // A client that does not hang up.
    vm.exec(&format!("setsid sh -c 'sleep 1000 | nc {orders} 80' &"))?;
    vm.offer(&["1.21.0"])?;
    vm.order("check")?;
    vm.until("the drain", |status: &Status| {
        status.service("orders").is_some_and(|orders| orders.endpoints.iter().all(|each| each.state == "draining"))
    })?;
    let update = vm.update_until("the verdict", |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.0", "good")] && update.refused.is_empty(), "{update:?}");
    ensure!(vm.trail() == "AB" && vm.banks()? == [marked(1), marked(2)], "{} {:?}", vm.trail(), vm.banks()?);
    vm.serves()?;
    let update = vm.update_until("rest", |update| update.phase == "idle")?;
    ensure!(update.running.as_deref() == Some("1.21.0") && vm.version_lock()? == "latest", "{update:?}");
    ensure!(vm.record()?["update"].is_null(), "no update is under way: {}", vm.record()?);
    Ok(())
}

#[test]
fn a_kernel_that_never_reaches_user_space_is_fallen_back_from_and_refused() -> Outcome {
    let mut vm = offered("fallback", Boots::Panics, &automatic("90s", "3s"))?;
    let update = vm.update_until("the fallback", |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.0", "fell-back")], "{update:?}");
    ensure!(vm.trail() == "ABA", "{}", vm.trail());
    stays_refused(&mut vm)
}

#[test]
fn a_version_on_which_the_workloads_are_sick_is_taken_back_and_refused() -> Outcome {
    let mut vm = offered("rollback", Boots::Sick, &automatic("60s", "3s"))?;
    let update = vm.update_until("the rollback", |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.0", "rolled-back")], "{update:?}");
    ensure!(update.history[0].why.contains("endpoints: 0 healthy, 2 before"), "{update:?}");
    ensure!(vm.trail() == "ABA" && vm.banks()? == [marked(2), marked(1)], "{} {:?}", vm.trail(), vm.banks()?);
    stays_refused(&mut vm)?;
    vm.serves()?;
    Ok(())
}

#[test]
fn a_version_on_which_nobody_starts_the_workloads_is_taken_back() -> Outcome {
    let mut vm = offered("idle", Boots::Idle, &automatic("60s", "3s"))?;
    let update = vm.update_until("the rollback", |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.0", "rolled-back")], "{update:?}");
    ensure!(vm.trail() == "ABA" && vm.banks()? == [marked(2), marked(1)], "{} {:?}", vm.trail(), vm.banks()?);
    Ok(())
}

#[test]
fn without_its_journal_a_node_rests() -> Outcome {
    let mut vm = offered("lost", Boots::Well, &automatic("90s", "3s"))?;
    vm.seen("the new version", |vm| vm.came_to("Verifying"))?;
    vm.forget_at_next_boot();
    vm.power_cut()?;
    ensure!(vm.boot()?.image.version == "1.21.0", "it was marked before anybody could judge it");
    let update = vm.update_until("rest", |update| update.phase == "idle" && update.running.is_some())?;
    ensure!(update.history.is_empty() && update.refused.is_empty() && update.held.is_none(), "{update:?}");
    ensure!(vm.version_lock()? == "latest" && vm.trail() == "ABB", "{}", vm.trail());
    vm.serves()?;
    Ok(())
}

/// 1.21.0 was taken back: 1.20.5 runs, and neither another boot nor somebody who looks for updates changes that.
fn stays_refused(vm: &mut Vm) -> Outcome {
    vm.update_until("rest", |update| update.phase == "idle" && update.refused == ["1.21.0"])?;
    ensure!(vm.version_lock()? == "1.20.5", "{}", vm.version_lock()?);
    vm.power_cut()?;
    vm.boot()?;
    vm.serves()?;
    vm.order("check")?;
    let update = vm.update_until("rest", |update| update.phase == "idle")?;
    ensure!(update.ends().len() == 1 && update.refused == ["1.21.0"], "{update:?}");
    ensure!(update.running.as_deref() == Some("1.20.5") && vm.trail() == "ABAA", "{update:?}, {}", vm.trail());
    // Other updaters, who do not know what is refused, find nothing to take.
    let found = vm.exec("apiclient raw -u /updates/status")?;
    ensure!(found.contains("1.21.0") && found.contains(r#""chosen_update":null"#), "{found}");
    Ok(())
}
