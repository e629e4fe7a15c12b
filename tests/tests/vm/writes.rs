//! Power cuts in the very moments in which something is written.

use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog_tests::harness::updating::Update;
use meshdog_tests::vm::{Boots, Release, Vm};

use super::{Outcome, automatic};

/// How long after a write has begun the power goes, in microseconds: within what belongs to it, on one machine or other.
const LATER: [u64; 8] = [0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000];

/// A node that has nothing to do.
fn node(name: &str, user_data: &str) -> anyhow::Result<Vm> {
    let releases = ["1.20.5", "1.21.0"].map(|version| Release { version, boots: Boots::Idle });
    Vm::new(name, &releases, user_data)
}

#[test]
fn what_the_journal_said_it_holds_it_holds() -> Outcome {
    let mut vm = node("journal", &automatic("90s", "3s"))?;
    let mut first = 1;
    for later in LATER {
        vm.boot()?;
        let update = vm.update_until("the agent", |update| update.running.is_some())?;
        if first > 1 {
            let (held, told) = (reason(&update)?, first - 1);
            // The next one may have been written as well, but nobody was told.
            ensure!(held == told || held == first, "{later} us after a write: {held} is held, {told} was told");
            first = held + 1;
        }
        // A person who changes their mind without end, and says on the console what the agent has answered to.
        vm.exec(&format!(
            "dmesg -n 1
             agent=/proc/$(cat /run/meshdog.pid)/root/run/meshdog/admin.sock n={first}
             while apiclient raw -s $agent -m POST \\
                 -u \"/update/hold?why=$n.$(printf %0$((n * 37 % 150 + 1))d)\" >/dev/null; do
                 echo \"told $n.\" >/dev/console
                 n=$((n + 1))
             done &"
        ))?;
        vm.seen("some orders", |vm| Ok(told(&vm.said()?) > Some(first)))?;
        let said = vm.power_cut_at_write("data", Duration::from_micros(later))?;
        first = told(&said).context("nothing was told")? + 1;
    }
    Ok(())
}

/// What the person was last told.
fn told(console: &str) -> Option<u64> {
    console.lines().filter_map(|line| line.strip_prefix("told ")?.trim_end().strip_suffix('.')?.parse().ok()).max()
}

fn reason(update: &Update) -> anyhow::Result<u64> {
    let why = update.held.as_ref().and_then(|held| held["why"].as_str()).context("the hold is lost")?;
    why.split('.').next().unwrap_or(why).parse().with_context(|| why.to_owned())
}

#[test]
fn a_table_that_was_being_written_still_boots() -> Outcome {
    let mut vm = node("table", "")?;
    vm.offer(&["1.21.0"])?;
    vm.boot()?;
    vm.exec("until apiclient raw -u /os; do usleep 100000; done")?;
    vm.foreign("refresh-updates")?;
    vm.foreign("prepare-update")?;
    let mut torn = 0;
    for later in LATER {
        vm.exec(
            "while :; do
                 signpost upgrade-to-inactive || signpost rollback-to-inactive
                 signpost cancel-upgrade
                 signpost rewrite-table
             done 2>/dev/null &",
        )?;
        vm.power_cut_at_write("disk", Duration::from_micros(later))?;
        torn += u32::from(!vm.disk()?.is_agreed()?);
        vm.boot().with_context(|| format!("{later} us after a write"))?;
    }
    // How many, is chance; that every one of them boots is not.
    println!("{torn} cuts came between the two copies of the table");
    vm.exec("until signpost status; do usleep 100000; done").map(drop)
}
