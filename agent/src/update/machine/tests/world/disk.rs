//! The disk's two banks, and who writes to them.

use std::sync::{Arc, Mutex};

use bottlerocket_settings::Image;
use meshdog_tests::host::updates::Banks as Writable;
use semver::Version;

use crate::update::banks::{Bank, Banks, Flags};

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) flags: [Flags; 2],
    pub(super) holds: [Version; 2],
    pub(super) active: usize,
    /// Images cannot be written.
    pub(super) bad_updog: bool,
}

const UNUSED: Flags = Flags { priority: 0, tries_left: 0, successful: false };

impl Disk {
    /// As it comes from the factory.
    pub(super) fn new(holds: Version) -> Self {
        let flags = [Flags { priority: 1, tries_left: 0, successful: true }, UNUSED];
        Self { flags, holds: [holds, Version::new(0, 0, 0)], active: 0, bad_updog: false }
    }

    pub(super) fn banks(&self) -> Banks {
        let active = if self.active == 0 { Bank::A } else { Bank::B };
        Banks { active, running: self.flags[self.active], other: self.flags[1 - self.active] }
    }

    pub(super) fn running(&self) -> Version {
        self.holds[self.active].clone()
    }

    /// GRUB picks a bank, and uses up one of its tries.
    pub(super) fn boot(&mut self) {
        let next = self.banks().next().expect("a bank that boots");
        self.active = usize::from(next == Bank::B);
        let flags = &mut self.flags[self.active];
        flags.tries_left = flags.tries_left.saturating_sub(1);
    }

    /// signpost `mark-successful-boot`
    pub(super) fn mark_successful(&mut self) {
        self.flags[self.active].successful = true;
    }

    /// signpost `rollback-to-inactive`
    pub(super) fn roll_back(&mut self) -> Result<(), String> {
        let other = self.flags[1 - self.active];
        if !(other.successful || other.priority > 0 && other.tries_left > 0) {
            return Err(format!("Inactive partition is not valid to roll back to ({other})"));
        }
        self.flags[1 - self.active].priority = 2;
        self.flags[self.active].priority = 1;
        Ok(())
    }
}

/// The updater of the host.
#[derive(Debug)]
pub(super) struct Updog(pub(super) Arc<Mutex<Disk>>);

impl Writable for Updog {
    fn active_is_next(&self) -> Result<bool, String> {
        let banks = self.0.lock().unwrap().banks();
        Ok(banks.next() == Some(banks.active))
    }

    fn write(&mut self, image: &Image) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let other = 1 - disk.active;
        disk.flags[other] = UNUSED;
        if disk.bad_updog {
            return Err("no such image".to_owned());
        }
        disk.flags[other].tries_left = 1;
        disk.holds[other] = image.version.parse().unwrap();
        Ok(())
    }

    fn activate(&mut self) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let (active, other) = (disk.active, 1 - disk.active);
        if disk.flags[other].priority > 0 || disk.flags[other].successful || disk.flags[other].tries_left == 0 {
            return Err("not valid for upgrade".to_owned());
        }
        disk.flags[other].priority = 2;
        disk.flags[active].priority = 1;
        Ok(())
    }

    fn revert(&mut self) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let (active, other) = (disk.active, 1 - disk.active);
        disk.flags[other].priority = 0;
        disk.flags[active].priority = 2;
        Ok(())
    }
}
