//! Somebody else is at work on the same node.

use anyhow::ensure;
use meshdog_tests::vm::Boots;

use super::{Outcome, automatic, marked, offered, serving};

#[test]
fn somebody_elses_update_is_given_way_to() -> Outcome {
    let mut vm = serving("foreign", Boots::Well, &automatic("90s", "3s"))?;
    vm.order("hold")?;
    vm.offer(&["1.21.0"])?;
    vm.foreign("refresh-updates")?;
    vm.foreign("prepare-update")?;
    vm.order("resume")?;
    let update = vm.update_until("way to be given", |update| update.why.contains("somebody else"))?;
    ensure!(update.phase == "waiting" && update.history.is_empty(), "{update:?}");
    vm.foreign("activate-update")?;
    vm.restart()?;
    let update = vm.update_until("the change to be noticed", |update| !update.history.is_empty())?;
    ensure!(update.ends() == [("1.21.0", "foreign")] && update.refused.is_empty(), "{update:?}");
    ensure!(vm.trail() == "AB" && vm.banks()? == [marked(1), marked(2)], "{} {:?}", vm.trail(), vm.banks()?);
    vm.serves()?;
    Ok(())
}

#[test]
fn a_bank_that_is_gone_is_not_taken_back() -> Outcome {
    let mut vm = offered("gone", Boots::Sick, &automatic("30s", "3s"))?;
    vm.seen("the new version", |vm| vm.came_to("Verifying"))?;
    vm.exec("signpost clear-inactive")?;
    let update = vm.update_until("the end", |update| update.phase == "held")?;
    ensure!(update.ends() == [("1.21.0", "kept")] && update.refused == ["1.21.0"], "{update:?}");
    ensure!(update.history[0].why.contains("is gone") && update.held.is_some(), "{update:?}");
    vm.power_cut()?;
    vm.boot()?;
    let update = vm.update_until("the hold", |update| update.phase == "held")?;
    ensure!(update.ends().len() == 1 && vm.trail() == "ABB", "{update:?}, {}", vm.trail());
    Ok(())
}
