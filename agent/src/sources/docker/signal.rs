//! Signals as Docker writes them. Pure.

use std::str::FromStr;

/// A signal's number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Signal(u8);

/// The lowest real-time signal as Docker counts them (moby/sys `signal`): glibc's, after the two it keeps for itself.
const RTMIN: u8 = 34;
/// The highest signal Linux has.
const RTMAX: u8 = 64;

impl Signal {
    /// What `docker stop` sends to a container that names no signal of its own.
    pub(super) const TERM: Self = Self(nix::libc::SIGTERM as u8);
    /// What nothing survives.
    pub(super) const KILL: Self = Self(nix::libc::SIGKILL as u8);

    /// Reads `15`, `TERM`, `SIGTERM`, `RTMIN+3`, `SIGRTMAX-1`, in any case; `None` for what Docker would refuse.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |n: u8| (1..=RTMAX).contains(&n).then_some(Self(n));
        if let Ok(n) = text.parse() {
            return number(n);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |text: &str, sign: char| match text {
            "" => Some(0),
            more => more.strip_prefix(sign)?.parse::<u8>().ok().filter(|n| *n <= RTMAX - RTMIN),
        };
        if let Some(rest) = name.strip_prefix("RTMIN") {
            return Some(Self(RTMIN + offset(rest, '+')?));
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            return Some(Self(RTMAX - offset(rest, '-')?));
        }
        let known = nix::sys::signal::Signal::from_str(&format!("SIG{name}")).ok()?;
        number(u8::try_from(known as i32).ok()?)
    }
}

#[cfg(test)]
mod tests;
