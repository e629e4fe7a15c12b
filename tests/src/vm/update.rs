//! What a node's update does, and what is to be seen of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use meshdog::update::banks::{Bank, Flags};
use serde_json::Value;

use super::Vm;
use super::machine::Machine;
use crate::harness::eventually;
use crate::harness::updating::Update;

/// How long a stage of an update may take, boots and judging included. Generous: every instruction is emulated.
const PATIENCE: Duration = Duration::from_secs(420);

impl Vm {
    /// The update's status.
    ///
    /// # Errors
    /// When the agent does not say.
    pub fn update(&mut self) -> anyhow::Result<Update> {
        Ok(serde_json::from_str(&self.exec("meshdog update status --json")?)?)
    }

    /// Gives the agent an order: `check`, `resume`, `hold` or `allow X.Y.Z`.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn order(&mut self, order: &str) -> anyhow::Result<()> {
        self.exec(&format!("meshdog update {order}")).map(drop)
    }

    /// Waits until the update's status is as it should be, and boots the machine whenever it has restarted.
    ///
    /// # Errors
    /// When it is not in time; the error carries how it is, and the end of the console.
    pub fn update_until(&mut self, what: &str, when: impl Fn(&Update) -> bool) -> anyhow::Result<Update> {
        let found = eventually(PATIENCE, what, || {
            // Asking takes time from what it waits for.
            thread::sleep(Duration::from_millis(300));
            if !self.is_on() {
                self.reboots()?;
            }
            let update = self.update()?;
            ensure!(when(&update), "{update:?}");
            Ok(update)
        });
        let context = || {
            format!("booted {}; {}", self.trail, self.machine.as_ref().map(Machine::console_tail).unwrap_or_default())
        };
        Ok(found.with_context(context)?.0)
    }

    /// Waits until something is to be seen from outside, and boots the machine whenever it has restarted. Looks every
    /// few milliseconds, and takes no time from the machine.
    ///
    /// # Errors
    /// When it is not to be seen in time; the error carries the end of the console.
    pub fn seen(&mut self, what: &str, when: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let seen = eventually(PATIENCE, what, || {
            if !self.is_on() {
                self.reboots()?;
            }
            ensure!(when(self)?, "it is not to be seen");
            Ok(())
        });
        seen.with_context(|| self.machine.as_ref().map(Machine::console_tail).unwrap_or_default()).map(drop)
    }

    /// What it has said on its console since it was booted, or since [`Self::forget_said`].
    ///
    /// # Errors
    /// When it is off.
    pub fn said(&self) -> anyhow::Result<String> {
        self.machine.as_ref().context("it is off")?.console()
    }

    /// Lets [`Self::said`] begin anew.
    ///
    /// # Errors
    /// When it is off.
    pub fn forget_said(&mut self) -> anyhow::Result<()> {
        self.machine.as_mut().context("it is off")?.forget_console()
    }

    /// Whether the agent has said, since then, that its update came to this place of the diagram.
    ///
    /// # Errors
    /// When it is off.
    pub fn came_to(&self, place: &str) -> anyhow::Result<bool> {
        Ok(self.said()?.contains(&format!(r#""to":"{place}""#)))
    }

    /// Waits for the machine's next write to one of its disks, `disk` or `data`, and cuts the power so long after that
    /// write has begun. Returns what it has said until then, see [`Self::said`].
    ///
    /// # Errors
    /// When it writes nothing in time.
    pub fn power_cut_at_write(&mut self, to: &str, later: Duration) -> anyhow::Result<String> {
        let file = self.dir.join(to);
        let (before, deadline) = (file.metadata()?.modified()?, Instant::now() + PATIENCE);
        while file.metadata()?.modified()? == before {
            ensure!(Instant::now() < deadline, "nothing is written to {to}");
            thread::sleep(Duration::from_micros(50));
        }
        thread::sleep(later);
        let machine = self.machine.take().context("it is off")?;
        machine.cut()
    }

    /// The flags of both banks.
    ///
    /// # Errors
    /// The disk cannot be used, which may be because the machine is writing to it.
    pub fn banks(&self) -> anyhow::Result<[Flags; 2]> {
        let disk = self.disk()?;
        Ok([disk.flags(Bank::A).context("no bank A")?, disk.flags(Bank::B).context("no bank B")?])
    }

    /// What the agent's journal holds: the newer slot's value, read as [`meshdog::update::journal`] writes it.
    ///
    /// # Errors
    /// When neither slot holds one.
    pub fn record(&mut self) -> anyhow::Result<Value> {
        let slots = "/local/host-containers/meshdog/state/update-journal.*";
        let slots = self.exec(&format!("for slot in {slots}; do cat $slot; echo; done"))?;
        let lines = slots.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>();
        let entries = lines.chunks(2).map(|entry| {
            let header: Value = serde_json::from_str(entry[0])?;
            anyhow::Ok((header["sequence"].as_u64(), entry.get(1).context("a slot without a value")?))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let (_, newest) = entries.into_iter().max_by_key(|(sequence, _)| *sequence).context("no journal")?;
        Ok(serde_json::from_str(newest)?)
    }

    /// `settings.updates.version-lock`.
    ///
    /// # Errors
    /// When the host does not say.
    pub fn version_lock(&mut self) -> anyhow::Result<String> {
        let settings = self.exec(r#"apiclient raw -u "/settings?keys=settings.updates.version-lock""#)?;
        let settings: Value = serde_json::from_str(&settings)?;
        let lock = settings.pointer("/updates/version-lock").and_then(Value::as_str);
        Ok(lock.context("no version lock")?.to_owned())
    }

    /// One request to the host API, as somebody else would make it, and waits until the updater is done with it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn foreign(&mut self, action: &str) -> anyhow::Result<()> {
        self.exec(&format!("apiclient raw -m POST -u /actions/{action}"))?;
        self.exec("until apiclient raw -u /updates/status; do usleep 100000; done").map(drop)
    }
}
