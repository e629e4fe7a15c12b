//! The two banks of a Bottlerocket disk, as `signpost` shows and turns them.
//!
//! Source: core-kit `sources/updater/signpost/src/{state,gptprio}.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod signpost;
pub mod status;

/// One of the two sets of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bank {
    /// The first of each type in the table.
    A,
    /// The second.
    B,
}

impl Bank {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// What the boot loader goes by: bits of a bank's BOOT partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// The higher one boots; 0 never does. 0 to 15.
    pub priority: u8,
    /// How often it may be tried before it has booted once. 0 to 15.
    pub tries_left: u8,
    /// It has booted once.
    pub successful: bool,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority={} tries_left={} successful={}", self.priority, self.tries_left, self.successful)
    }
}

/// Both banks of a disk that has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banks {
    /// The one that runs.
    pub active: Bank,
    /// Its flags.
    pub running: Flags,
    /// The flags of the other.
    pub other: Flags,
}

impl Banks {
    /// The bank that GRUB takes at the next boot: the highest priority above 0 among those that have booted or may be
    /// tried, the first of two equals (kernel-kit `packages/grub/0009-*.patch`). `None`: the host would not boot.
    #[must_use]
    pub fn next(&self) -> Option<Bank> {
        let bootable = |flags: Flags| flags.priority > 0 && (flags.tries_left > 0 || flags.successful);
        let (a, b) = match self.active {
            Bank::A => (self.running, self.other),
            Bank::B => (self.other, self.running),
        };
        match (bootable(a), bootable(b)) {
            (true, true) => Some(if b.priority > a.priority { Bank::B } else { Bank::A }),
            (true, false) => Some(Bank::A),
            (false, true) => Some(Bank::B),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests;
