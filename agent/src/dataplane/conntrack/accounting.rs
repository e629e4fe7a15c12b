//! Whether connection tracking counts bytes: a switch of the host's network namespace, off unless somebody turns it on.
//!
//! The agent turns it on, since nothing else counts what a translated connection carries, and leaves a mark beside its
//! state, by which `meshdog uninstall` knows to turn it off again. Somebody else's choice stands.

use std::fs;
use std::io;
use std::path::Path;

/// The switch of the calling process's network namespace (Documentation/networking/nf_conntrack-sysctl.rst). It counts for
/// connections that begin afterwards.
pub const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";
/// The mark in the state directory.
pub const MARK: &str = "conntrack-accounting";

/// Turns it on where it is off. True where it was off.
///
/// # Errors
/// The switch cannot be read or written, or the mark not be left: then it stays as it was.
pub fn turn_on(switch: &Path, mark: &Path) -> io::Result<bool> {
    if fs::read_to_string(switch)?.trim() != "0" {
        return Ok(false);
    }
    if let Some(directory) = mark.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(mark, "")?;
    fs::write(switch, "1")?;
    Ok(true)
}

/// Turns it off if [`turn_on`] turned it on. True if so.
///
/// # Errors
/// The switch cannot be written, or the mark not be removed.
pub fn turn_back(switch: &Path, mark: &Path) -> io::Result<bool> {
    if !mark.exists() {
        return Ok(false);
    }
    fs::write(switch, "0")?;
    fs::remove_file(mark)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_off_is_on_while_the_agent_is_there_and_off_again_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let (switch, mark) = (dir.path().join("acct"), dir.path().join("state/mark"));
        fs::write(&switch, "0\n").unwrap();
        assert!(turn_on(&switch, &mark).unwrap());
        assert!(!turn_on(&switch, &mark).unwrap(), "another start");
        assert_eq!(fs::read_to_string(&switch).unwrap(), "1");
        assert!(turn_back(&switch, &mark).unwrap());
        assert_eq!(fs::read_to_string(&switch).unwrap(), "0");
        assert!(!turn_back(&switch, &mark).unwrap());
    }

    #[test]
    fn what_somebody_else_turned_on_stays_on() {
        let dir = tempfile::tempdir().unwrap();
        let (switch, mark) = (dir.path().join("acct"), dir.path().join("mark"));
        fs::write(&switch, "1\n").unwrap();
        assert!(!turn_on(&switch, &mark).unwrap() && !turn_back(&switch, &mark).unwrap());
        assert_eq!(fs::read_to_string(&switch).unwrap(), "1\n");
        assert!(turn_on(&dir.path().join("missing"), &mark).is_err() && !mark.exists());
    }
}
