//! The attribute bits of partitions that Bottlerocket gives a meaning. They are those of ChromeOS's boot loader.
//!
//! Source: core-kit `sources/updater/signpost/src/gptprio.rs`.

use meshdog::update::banks::Flags;

/// On PRIVATE: some boot was marked successful.
pub const EVER_BOOTED: u64 = 1 << 57;

const PRIORITY: u32 = 48;
const TRIES_LEFT: u32 = 52;
const SUCCESSFUL: u64 = 1 << 56;
/// Priority and tries have four bits each.
const FOUR: u64 = 0xf;

/// The flags of a BOOT partition with these attributes.
#[must_use]
pub fn flags(attributes: u64) -> Flags {
    Flags {
        priority: (attributes >> PRIORITY & FOUR) as u8,
        tries_left: (attributes >> TRIES_LEFT & FOUR) as u8,
        successful: attributes & SUCCESSFUL != 0,
    }
}

/// The attributes with these flags instead; all other bits stay.
#[must_use]
pub fn with_flags(attributes: u64, flags: Flags) -> u64 {
    let others = attributes & !(FOUR << PRIORITY | FOUR << TRIES_LEFT | SUCCESSFUL);
    let successful = if flags.successful { SUCCESSFUL } else { 0 };
    others
        | (u64::from(flags.priority) & FOUR) << PRIORITY
        | (u64::from(flags.tries_left) & FOUR) << TRIES_LEFT
        | successful
}
