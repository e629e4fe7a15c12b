//! Scenarios on a node in a virtual machine, each on one of its own. Run by `tests/run vm`.

mod banks;
mod others;
mod power;
mod updates;
mod writes;

use anyhow::ensure;
use meshdog::update::banks::{Bank, Flags};
use meshdog_tests::vm::{Boots, Release, Vm};

/// What every scenario returns: an error fails it, with all that led to it.
type Outcome = anyhow::Result<()>;

/// User data of a node that takes updates at once, drains that long at most, and has to be well by the deadline.
fn automatic(deadline: &str, drain: &str) -> String {
    format!(
        "[update]\nmode = \"automatic\"\ndelay = \"0s\"\ndrain = \"{drain}\"\nmax_rollbacks = 100\n\
         [update.verify]\ndeadline = \"{deadline}\"\nsettle = \"2s\"\n"
    )
}

/// A node that runs 1.20.5 and serves. There is 1.21.0, which boots as said.
fn serving(name: &str, boots: Boots, user_data: &str) -> anyhow::Result<Vm> {
    let releases = [Release { version: "1.20.5", boots: Boots::Well }, Release { version: "1.21.0", boots }];
    let mut vm = Vm::new(name, &releases, user_data)?;
    ensure!(vm.boot()?.bank == Bank::A, "a new node has nothing but bank A");
    vm.serves()?;
    Ok(vm)
}

/// The same, that has found 1.21.0 on offer.
fn offered(name: &str, boots: Boots, user_data: &str) -> anyhow::Result<Vm> {
    let mut vm = serving(name, boots, user_data)?;
    vm.offer(&["1.21.0"])?;
    vm.order("check")?;
    Ok(vm)
}

/// A bank's flags once it has booted.
fn marked(priority: u8) -> Flags {
    Flags { priority, tries_left: 0, successful: true }
}
