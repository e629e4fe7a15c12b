//! Chain sizes: how many slots the draw of a load balancing chain is made over. Pure.
//!
//! A chain's draw is a constant of its rule, so each number of slots needs a chain. Up to [`EXACT`] there is one for
//! every number. Above, sizes double up to [`LARGEST`] and a chain serves any number of slots that it can hold: a draw
//! that names an empty slot misses the map and is drawn again. More than half of the slots are filled, so `REDRAWS`
//! draws all miss less than once in a million connections, and those take slot 0.

use crate::model::MAX_SLOTS;

/// Up to this many slots, the draw is made over exactly as many as there are.
pub(super) const EXACT: u32 = 64;

/// The most slots that one frontend can have. A power of two, as the sizes above [`EXACT`] are.
pub(super) const LARGEST: u32 = MAX_SLOTS;
const _: () = assert!(LARGEST.is_power_of_two());

/// Draws in a chain that may hold empty slots: `0.5^20 < 1e-6`.
pub(super) const REDRAWS: usize = 20;

/// How many slots a chain draws from. The map `services` holds this number for each frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::dataplane) struct ChainSize(u32);

impl ChainSize {
    /// Every size there is a chain for.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let doubled = std::iter::successors(Some(EXACT * 2), |size| Some(size * 2)).take_while(|size| *size <= LARGEST);
        (1..=EXACT).chain(doubled).map(Self)
    }

    /// The size as a number of slots.
    #[must_use]
    pub(super) fn get(self) -> u32 {
        self.0
    }

    /// How many draws the chain makes before it takes slot 0.
    #[must_use]
    pub(super) fn draws(self) -> usize {
        match self.0 {
            1 => 0,
            2..=EXACT => 1,
            _ => REDRAWS,
        }
    }

    /// The chain's name.
    pub(super) fn chain(self) -> String {
        format!("lb{}", self.0)
    }
}

/// The chain that serves this many slots. Slots beyond [`LARGEST`] are never drawn.
#[must_use]
pub(super) fn chain_for(slots: usize) -> ChainSize {
    let slots = u32::try_from(slots).unwrap_or(LARGEST).clamp(1, LARGEST);
    ChainSize(if slots <= EXACT { slots } else { slots.next_power_of_two() })
}
