//! The host's `signpost`, with a real one's words: what it prints, refuses and writes.
//!
//! Sources: core-kit `sources/updater/signpost/src/{main,state,error}.rs`; what it prints was recorded from v3.1.1.

use std::fmt::Write;

use meshdog::update::banks::{Bank, Flags};

use super::running::Running;
use super::{Disk, DiskError, Set};

/// What it says to a word that is no command.
pub const USAGE: &str = "\
USAGE:
    signpost <SUBCOMMAND>

SUBCOMMANDS:
    status
    mark-successful-boot
    clear-inactive
    mark-inactive-valid
    upgrade-to-inactive
    cancel-upgrade
    rollback-to-inactive
    has-boot-ever-succeeded
    rewrite-table
";

/// A sub-command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Show the banks.
    Status,
    /// The active bank has booted.
    MarkSuccessfulBoot,
    /// Do something to the inactive bank.
    Turn(Turn),
    /// Say whether any boot was ever marked successful.
    HasBootEverSucceeded,
    /// Write the table as it is.
    RewriteTable,
}

/// What is done to the inactive bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is about to be written.
    Clear,
    /// It holds an image, which may be tried once.
    MarkValid,
    /// It boots next.
    Upgrade,
    /// It does not boot next, after all.
    Cancel,
    /// It boots next, if it can.
    RollBack,
}

impl Command {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("status", Self::Status),
        ("mark-successful-boot", Self::MarkSuccessfulBoot),
        ("clear-inactive", Self::Turn(Turn::Clear)),
        ("mark-inactive-valid", Self::Turn(Turn::MarkValid)),
        ("upgrade-to-inactive", Self::Turn(Turn::Upgrade)),
        ("cancel-upgrade", Self::Turn(Turn::Cancel)),
        ("rollback-to-inactive", Self::Turn(Turn::RollBack)),
        ("has-boot-ever-succeeded", Self::HasBootEverSucceeded),
        ("rewrite-table", Self::RewriteTable),
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(of, _)| *of == name).map(|(_, command)| *command)
    }
}

/// Why it fails: what it writes to its standard error.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Failure {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("Inactive partition {0} is not available")]
    NotAvailable(String),
    #[error("Inactive partition {0} has not been marked valid for upgrade")]
    NotValid(String),
    #[error("Inactive partition {0} is already marked for upgrade")]
    AlreadyMarked(String),
    #[error("Inactive partition is not valid to roll back to ({0})")]
    NoWayBack(Flags),
}

/// Runs a command on the machine that runs; hands back what it prints.
///
/// # Errors
/// The disk cannot be used, or the command is refused.
pub fn run(command: Command, running: &Running) -> Result<String, Failure> {
    let mut disk = running.open()?;
    let active = active(&disk, running.active);
    match command {
        Command::Status => return Ok(status(&disk, active)),
        Command::HasBootEverSucceeded => return Ok(if disk.ever_booted() { "true\n" } else { "" }.to_owned()),
        Command::RewriteTable => {}
        Command::MarkSuccessfulBoot => {
            change(&mut disk, active, |flags| flags.successful = true);
            disk.set_ever_booted();
        }
        Command::Turn(how) => turn(how, &mut disk, active)?,
    }
    disk.write()?;
    Ok(String::new())
}

/// Whether the next boot takes the active bank.
///
/// # Errors
/// The disk cannot be used.
pub fn active_is_next(running: &Running) -> Result<bool, DiskError> {
    let disk = running.open()?;
    Ok(next(&disk) == Some(active(&disk, running.active)))
}

/// The active bank: where there is but one, that one.
fn active(disk: &Disk, running: Bank) -> Bank {
    if disk.set(Bank::B).is_some() { running } else { Bank::A }
}

fn turn(how: Turn, disk: &mut Disk, active: Bank) -> Result<(), Failure> {
    let inactive = active.other();
    let name = disk.name().to_owned();
    let Some(flags) = disk.flags(inactive) else { return Err(Failure::NotAvailable(name)) };
    // The inactive bank's flags, and the active one's priority if it changes.
    let (turned, priority) = match how {
        Turn::Clear => (Flags { priority: 0, tries_left: 0, successful: false }, None),
        Turn::MarkValid => (Flags { tries_left: 1, ..flags }, None),
        Turn::Upgrade if flags.priority > 0 || flags.successful => return Err(Failure::AlreadyMarked(name)),
        Turn::Upgrade if flags.tries_left == 0 => return Err(Failure::NotValid(name)),
        Turn::Upgrade => (Flags { priority: 2, ..flags }, Some(1)),
        Turn::Cancel => (Flags { priority: 0, ..flags }, Some(2)),
        Turn::RollBack if !will_boot(flags) => return Err(Failure::NoWayBack(flags)),
        Turn::RollBack => (Flags { priority: 2, ..flags }, Some(1)),
    };
    disk.set_flags(inactive, turned);
    if let Some(priority) = priority {
        change(disk, active, |flags| flags.priority = priority);
    }
    Ok(())
}

fn change(disk: &mut Disk, bank: Bank, change: impl FnOnce(&mut Flags)) {
    if let Some(mut flags) = disk.flags(bank) {
        change(&mut flags);
        disk.set_flags(bank, flags);
    }
}

/// Unlike the boot loader, it takes a bank that has booted for bootable whatever its priority.
fn will_boot(flags: Flags) -> bool {
    flags.successful || (flags.priority > 0 && flags.tries_left > 0)
}

fn next(disk: &Disk) -> Option<Bank> {
    let bootable = |bank| disk.flags(bank).filter(|flags| will_boot(*flags));
    match (bootable(Bank::A), bootable(Bank::B)) {
        (Some(a), Some(b)) if b.priority > a.priority => Some(Bank::B),
        (Some(_), _) => Some(Bank::A),
        (None, Some(_)) => Some(Bank::B),
        (None, None) => None,
    }
}

fn status(disk: &Disk, active: Bank) -> String {
    let mut text = format!("OS disk: {}\n", disk.name());
    // On the line of bank A are the devices of the active one: a real one's mistake.
    for (bank, devices) in [(Bank::A, active), (Bank::B, active.other())] {
        if let (Some(flags), Some(set)) = (disk.flags(bank), disk.set(devices)) {
            let Set { boot, root, hash } = set;
            let device = |number| device(disk.name(), number);
            let line = format!("boot={} root={} hash={} {flags}", device(boot), device(root), device(hash));
            let _ = writeln!(text, "Set {bank}:   {line}");
        }
    }
    let _ = writeln!(text, "Active:  Set {active}");
    let next = next(disk).map_or("None".to_owned(), |next| format!("Set {next}"));
    let _ = writeln!(text, "Next:    {next}");
    text
}

/// A partition's device, as the kernel calls it.
fn device(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

#[cfg(test)]
mod tests;
