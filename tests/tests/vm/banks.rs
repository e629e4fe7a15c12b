//! What becomes of a release by the operating system's own means, with nobody to watch the workloads.

use anyhow::ensure;
use meshdog::update::banks::{Bank, Flags};
use meshdog_tests::harness::Status;
use meshdog_tests::vm::{Boots, Vm};

use super::{Outcome, marked, serving};

/// A node that runs 1.20.5 and has been activated 1.21.0; it has not restarted yet.
fn activated(name: &str, boots: Boots) -> anyhow::Result<Vm> {
    let mut vm = serving(name, boots, "")?;
    vm.offer(&["1.21.0"])?;
    for action in ["refresh-updates", "prepare-update", "activate-update"] {
        vm.foreign(action)?;
    }
    ensure!(
        vm.disk()?.flags(Bank::B) == Some(Flags { priority: 2, tries_left: 1, successful: false }),
        "it waits in B"
    );
    Ok(vm)
}

#[test]
fn a_release_that_boots_stays() -> Outcome {
    let mut vm = activated("stays", Boots::Well)?;
    let booted = vm.restart()?;
    ensure!((booted.bank, booted.image.version.as_str()) == (Bank::B, "1.21.0"), "{booted:?}");
    vm.serves()?;
    ensure!(vm.disk()?.flags(Bank::B) == Some(marked(2)), "{:?}", vm.disk()?.flags(Bank::B));
    ensure!(vm.exec("signpost status")?.contains("Active:  Set B"), "the node knows what runs");
    vm.exec(r#"apiclient raw -m PATCH -u "/settings?tx=t" -d '{"motd":"kept"}'"#)?;
    vm.exec(r#"apiclient raw -m POST -u "/tx/commit?tx=t""#)?;
    vm.power_cut()?;
    ensure!(vm.boot()?.bank == Bank::B, "without a restart in order it stays, too");
    vm.serves()?;
    let motd = vm.exec(r#"apiclient raw -u "/settings?keys=settings.motd""#)?;
    ensure!(motd.contains("kept"), "settings outlive a power cut: {motd}");
    Ok(())
}

#[test]
fn a_release_that_does_not_boot_gives_way() -> Outcome {
    let mut vm = activated("gives-way", Boots::Panics)?;
    ensure!(vm.restart()?.bank == Bank::B, "it is tried");
    let booted = vm.reboots()?;
    ensure!((booted.bank, booted.image.version.as_str()) == (Bank::A, "1.20.5"), "{booted:?}");
    vm.serves()?;
    Ok(())
}

#[test]
fn a_release_that_hangs_gives_way_once_it_is_switched_off() -> Outcome {
    let mut vm = activated("hangs", Boots::Hangs)?;
    ensure!(vm.restart()?.bank == Bank::B, "it is tried");
    vm.exec("true")?;
    vm.power_cut()?;
    ensure!(vm.boot()?.bank == Bank::A, "it was tried");
    vm.serves()?;
    Ok(())
}

#[test]
fn a_release_on_which_the_containers_are_sick_stays() -> Outcome {
    let mut vm = activated("sick", Boots::Sick)?;
    ensure!(vm.restart()?.bank == Bank::B, "it is tried");
    vm.until("the containers to be sick", |status: &Status| {
        status.service("orders").is_some_and(|orders| orders.endpoints.len() == 2 && orders.healthy() == 0)
    })?;
    ensure!(vm.disk()?.flags(Bank::B).is_some_and(|flags| flags.successful), "the operating system is content");
    vm.sick(false)?;
    vm.serves()?;
    Ok(())
}
