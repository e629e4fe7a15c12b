//! Reads what `signpost status` prints. Pure.
//!
//! ```text
//! OS disk: /dev/nvme0n1
//! Set A:   boot=/dev/nvme0n1p3 root=/dev/nvme0n1p4 hash=/dev/nvme0n1p5 priority=2 tries_left=0 successful=true
//! Set B:   boot=/dev/nvme0n1p8 root=/dev/nvme0n1p9 hash=/dev/nvme0n1p10 priority=1 tries_left=0 successful=true
//! Active:  Set A
//! Next:    Set A
//! ```
//!
//! The flags on a line are those of its set. The devices are not, while B is active (`impl Display for State`), so they
//! are not read; nor is `Next`, which takes a bank of priority 0 that has booted for bootable, unlike the boot loader.

use std::str::FromStr;

use super::{Bank, Banks, Flags};

/// The most that four bits hold.
const MAX: u8 = 15;

/// Why a status cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// The disk has bank A only.
    #[error("the disk has one bank only, so this host takes no updates in place")]
    SingleBank,
    /// A line is not there.
    #[error("the status has no line \"{0}:\"")]
    Missing(&'static str),
    /// A line, or a field on it, is there twice.
    #[error("the status says {0} twice")]
    Twice(&'static str),
    /// A field is missing from a set's line, or is none that fits in the partition's attributes.
    #[error("the status of set {bank} gives no valid {field}")]
    Field {
        /// Whose line.
        bank: Bank,
        /// Which field.
        field: &'static str,
    },
    /// What runs is neither set.
    #[error("the status names neither set A nor set B as active")]
    Active,
}

impl FromStr for Banks {
    type Err = StatusError;

    fn from_str(status: &str) -> Result<Self, StatusError> {
        let (mut a, mut b, mut active) = (None, None, None);
        for line in status.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim() {
                "Set A" => put(&mut a, "Set A", flags(Bank::A, value)?)?,
                "Set B" => put(&mut b, "Set B", flags(Bank::B, value)?)?,
                "Active" => put(&mut active, "Active", bank(value)?)?,
                _ => {}
            }
        }
        let a = a.ok_or(StatusError::Missing("Set A"))?;
        match (active.ok_or(StatusError::Missing("Active"))?, b) {
            (Bank::A, None) => Err(StatusError::SingleBank),
            (Bank::B, None) => Err(StatusError::Missing("Set B")),
            (Bank::A, Some(b)) => Ok(Self { active: Bank::A, running: a, other: b }),
            (Bank::B, Some(b)) => Ok(Self { active: Bank::B, running: b, other: a }),
        }
    }
}

fn bank(value: &str) -> Result<Bank, StatusError> {
    match value.trim() {
        "Set A" => Ok(Bank::A),
        "Set B" => Ok(Bank::B),
        _ => Err(StatusError::Active),
    }
}

fn flags(bank: Bank, line: &str) -> Result<Flags, StatusError> {
    let (mut priority, mut tries_left, mut successful) = (None, None, None);
    for (field, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match field {
            "priority" => put(&mut priority, "priority", number(value))?,
            "tries_left" => put(&mut tries_left, "tries_left", number(value))?,
            "successful" => put(&mut successful, "successful", value.parse::<bool>().ok())?,
            _ => {}
        }
    }
    let invalid = |field| StatusError::Field { bank, field };
    Ok(Flags {
        priority: priority.flatten().ok_or(invalid("priority"))?,
        tries_left: tries_left.flatten().ok_or(invalid("tries_left"))?,
        successful: successful.flatten().ok_or(invalid("successful"))?,
    })
}

fn number(value: &str) -> Option<u8> {
    value.parse().ok().filter(|number| *number <= MAX)
}

fn put<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), StatusError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(StatusError::Twice(name)),
    }
}

#[cfg(test)]
mod tests;
