//! Power cuts at every boundary of an update, as the agent says it or the disk shows it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog::update::banks::{Bank, Flags};
use meshdog_tests::harness::updating::Update;
use meshdog_tests::vm::{Boots, Release, Vm};

use super::{Outcome, automatic, marked};

/// When the power goes.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// When the agent says that its update is there, and so many milliseconds later.
    At(&'static str, u64),
    /// When a bank's flags are these: priority, tries left, successful.
    Flags(u8, u8, bool),
    /// When the bank that ran at first is to boot next again.
    Back,
}

impl Cut {
    fn has_come(self, vm: &Vm, from: Bank) -> anyhow::Result<bool> {
        Ok(match self {
            Self::At(place, _) => vm.came_to(place)?,
            Self::Flags(priority, tries_left, successful) => {
                vm.banks()?.contains(&Flags { priority, tries_left, successful })
            }
            Self::Back => vm.disk()?.flags(from) == Some(marked(2)),
        })
    }

    /// Cuts the power then, and switches the machine on again.
    fn happen(self, vm: &mut Vm, from: Bank) -> Outcome {
        vm.seen(&format!("{self:?}"), |vm| self.has_come(vm, from))?;
        if let Self::At(_, later) = self {
            thread::sleep(Duration::from_millis(later));
        }
        // It may have gone down by itself by now, which is as good.
        if vm.is_on() {
            vm.power_cut()?;
        } else {
            vm.restarts()?;
        }
        vm.boot().map(drop)
    }
}

/// Until the agent has decided, and before anything is told to the boot loader, a cut calls the update off.
const BEFORE: &[&str] = &["withdrawn"];
/// From there on the new version is judged.
const AFTER: &[&str] = &[];

#[test]
fn the_power_goes_before_a_good_update_reboots() -> Outcome {
    good(
        "before",
        &[
            (Cut::At("Preparing", 0), "1.21.0", BEFORE),
            (Cut::Flags(0, 1, false), "1.21.1", BEFORE),
            (Cut::At("Draining", 700), "1.21.2", BEFORE),
            // The host may have done it by then.
            (Cut::At("Activating", 0), "1.21.3", BEFORE),
        ],
    )
}

#[test]
fn the_power_goes_around_a_good_updates_reboot() -> Outcome {
    good(
        "around",
        &[
            (Cut::Flags(2, 1, false), "1.21.0", AFTER),
            (Cut::At("Rebooting", 0), "1.21.1", AFTER),
            // What does not get through its first boot is fallen back from, whatever the reason.
            (Cut::Flags(2, 0, false), "1.21.2", &["fell-back"]),
            (Cut::At("Verifying", 0), "1.21.3", AFTER),
            (Cut::At("Verifying", 4000), "1.21.4", AFTER),
        ],
    )
}

/// Updates a node over and over, with a cut in each update, before whose good end there may be such others.
fn good(name: &str, cuts: &[(Cut, &'static str, &[&str])]) -> Outcome {
    let mut vm = node(name, cuts.iter().map(|(_, version, _)| *version), Boots::Well, "180s")?;
    let mut from = vm.boot()?.bank;
    vm.serves()?;
    for (cut, version, others) in cuts {
        begin(&mut vm, version)?;
        cut.happen(&mut vm, from)?;
        let rests = |update: &Update| ["idle", "waiting"].contains(&update.phase.as_str()) && !update.looking;
        let update = vm.update_until("rest after the cut", rests)?;
        if update.refused.is_empty() {
            vm.order("resume")?;
        } else {
            vm.order(&format!("allow {version}"))?;
        }
        let is_good = |update: &Update| update.ends().last() == Some(&(*version, "good"));
        let update = vm.update_until("a good end", |update| update.phase == "idle" && is_good(update))?;
        let ends: Vec<_> = update.ends().into_iter().filter(|(to, _)| to == version).map(|(_, end)| end).collect();
        let before = ends.split_last().map(|(_, before)| before).unwrap_or_default();
        ensure!(before.len() <= 1 && before.iter().all(|end| others.contains(end)), "{cut:?}: {ends:?}");
        let expected = if from == Bank::A { [marked(1), marked(2)] } else { [marked(2), marked(1)] };
        ensure!(vm.banks()? == expected, "{cut:?}: {:?}", vm.banks()?);
        ensure!(update.running.as_deref() == Some(version) && update.refused.is_empty(), "{cut:?}: {update:?}");
        ensure!(update.held.is_none() && vm.version_lock()? == "latest", "{cut:?}: {update:?}");
        from = from.other();
    }
    vm.serves()?;
    Ok(())
}

#[test]
fn the_power_goes_while_a_bad_update_is_taken_back() -> Outcome {
    let cuts = [
        (Cut::At("Verifying", 2000), "1.21.0"),
        (Cut::At("RollingBack", 0), "1.21.1"),
        (Cut::Back, "1.21.2"),
        (Cut::At("RebootingBack", 0), "1.21.3"),
    ];
    let mut vm = node("back", cuts.iter().map(|(_, version)| *version), Boots::Sick, "15s")?;
    vm.boot()?;
    for (number, (cut, version)) in (1..).zip(cuts) {
        vm.serves()?;
        begin(&mut vm, version)?;
        cut.happen(&mut vm, Bank::A)?;
        let update = vm.update_until("the version to be refused", |update| {
            update.phase == "idle"
                && update.history.len() == number
                && update.refused.iter().any(|each| each == version)
        })?;
        ensure!(update.ends().last() == Some(&(version, "rolled-back")), "{cut:?}: {update:?}");
        ensure!(vm.banks()? == [marked(2), marked(1)], "{cut:?}: {:?}", vm.banks()?);
        ensure!(update.running.as_deref() == Some("1.20.5"), "{cut:?}: {update:?}");
        ensure!(vm.version_lock()? == "1.20.5", "{cut:?}: {update:?}");
    }
    vm.serves()?;
    Ok(())
}

/// A node that runs 1.20.5, with releases that boot so.
fn node(name: &str, versions: impl Iterator<Item = &'static str>, boots: Boots, deadline: &str) -> anyhow::Result<Vm> {
    let first = Release { version: "1.20.5", boots: Boots::Well };
    let releases: Vec<_> = std::iter::once(first).chain(versions.map(|version| Release { version, boots })).collect();
    Vm::new(name, &releases, &automatic(deadline, "3s"))
}

/// Offers a version, and does not wait for what comes of it.
fn begin(vm: &mut Vm, version: &'static str) -> Outcome {
    vm.forget_said()?;
    vm.offer(&[version])?;
    vm.exec("meshdog update check >/dev/null 2>&1 &").map(drop).context("check")
}
