use jiff::Timestamp;
use semver::Version;

use super::*;
use crate::update::banks::{Bank, Flags};
use crate::update::fleet::Board;

const OLD: Version = Version::new(1, 20, 5);
const NEW: Version = Version::new(1, 21, 1);

fn flags(text: &str) -> Flags {
    let mut parts = text.split(',');
    let mut number = || parts.next().unwrap().parse().unwrap();
    let (priority, tries_left) = (number(), number());
    Flags { priority, tries_left, successful: parts.next() == Some("ok") }
}

/// Bank A ran the old version.
fn intent() -> Intent {
    Intent {
        from: OLD,
        to: NEW,
        bank: Bank::A,
        boot: boot("before"),
        begun: Timestamp::UNIX_EPOCH,
        baseline: Default::default(),
        unknown: Default::default(),
    }
}

fn boot(id: &str) -> BootId {
    BootId(id.into())
}

fn facts(running: &Version, active: Bank, a: &str, b: &str) -> Facts {
    let (running_flags, other) = match active {
        Bank::A => (flags(a), flags(b)),
        Bank::B => (flags(b), flags(a)),
    };
    Facts {
        boot: boot("after"),
        running: running.clone(),
        updates: None,
        banks: Banks { active, running: running_flags, other },
        version_lock: None,
        seed: None,
        board: Ok(Board::default()),
        ready: Ok(()),
    }
}

fn verifying() -> Checkpoint {
    Checkpoint::Verifying { boot: boot("first"), boots: 1, since: Default::default() }
}

#[test]
fn the_new_version_runs() {
    for b in ["2,0,ok", "2,0,no"] {
        let facts = facts(&NEW, Bank::B, "1,0,ok", b);
        for stage in [Checkpoint::Activating, verifying(), Checkpoint::RollingBack, Checkpoint::Unknown] {
            assert_eq!(classify(&intent(), &stage, &facts), Finding::Updated);
        }
    }
}

#[test]
fn the_old_version_runs_again() {
    let cases = [
        (Checkpoint::Activating, "1,0,ok", "2,0,no", Finding::FellBack),
        (verifying(), "1,0,ok", "2,0,no", Finding::FellBack),
        (Checkpoint::RollingBack, "2,0,ok", "1,0,ok", Finding::RolledBack),
        // It was never marked, though its workloads were judged.
        (Checkpoint::RollingBack, "2,0,ok", "1,0,no", Finding::RolledBack),
        (verifying(), "2,0,ok", "1,0,ok", Finding::TakenBack),
        (Checkpoint::Activating, "2,0,ok", "1,0,ok", Finding::TakenBack),
        (Checkpoint::Activating, "1,0,ok", "0,1,no", Finding::NotActivated),
        (Checkpoint::Activating, "2,0,ok", "0,1,no", Finding::NotActivated),
        (Checkpoint::Preparing, "1,0,ok", "0,0,no", Finding::NotActivated),
        // What the bank held before the update.
        (Checkpoint::Preparing, "2,0,ok", "1,0,ok", Finding::NotActivated),
        (Checkpoint::Preparing, "1,0,ok", "2,0,no", Finding::NotActivated),
    ];
    for (stage, a, b, expected) in cases {
        let found = classify(&intent(), &stage, &facts(&OLD, Bank::A, a, b));
        assert_eq!(found, expected, "{stage:?} {a} | {b}");
    }
}

#[test]
fn others_were_at_work() {
    let third = Version::new(1, 22, 0);
    let cases = [
        facts(&third, Bank::B, "1,0,ok", "2,0,ok"),
        facts(&third, Bank::A, "2,0,ok", "1,0,ok"),
        // The right version in the wrong bank.
        facts(&NEW, Bank::A, "2,0,ok", "1,0,ok"),
        facts(&OLD, Bank::B, "1,0,ok", "2,0,ok"),
        // Armed again with mark-inactive-valid, after it had failed.
        facts(&OLD, Bank::A, "1,0,ok", "2,1,no"),
        facts(&OLD, Bank::A, "1,0,ok", "2,0,ok"),
    ];
    for facts in cases {
        let found = classify(&intent(), &Checkpoint::Activating, &facts);
        assert!(matches!(found, Finding::Foreign(_)), "{facts:?}: {found:?}");
    }
}

#[test]
fn a_restart_of_the_agent_is_no_boot() {
    let here = Facts { boot: boot("before"), ..facts(&OLD, Bank::A, "1,0,ok", "2,1,no") };
    assert_eq!(classify(&intent(), &Checkpoint::Activating, &here), Finding::SameBoot);
    let first = Facts { boot: boot("first"), ..facts(&NEW, Bank::B, "1,0,ok", "2,0,ok") };
    assert_eq!(classify(&intent(), &verifying(), &first), Finding::SameBoot);
    let second = facts(&NEW, Bank::B, "1,0,ok", "2,0,ok");
    assert_eq!(classify(&intent(), &verifying(), &second), Finding::Updated);
}

#[test]
fn only_the_bank_it_came_from_is_gone_back_to() {
    let good = facts(&NEW, Bank::B, "1,0,ok", "2,0,ok");
    assert_eq!(rollback_barred(&intent(), &good), None);
    // cancel-upgrade left it without priority; rollback-to-inactive gives it one.
    assert_eq!(rollback_barred(&intent(), &facts(&NEW, Bank::B, "0,0,ok", "2,0,ok")), None);
    for overwritten in ["0,0,no", "0,1,no", "2,1,no"] {
        let barred = rollback_barred(&intent(), &facts(&NEW, Bank::B, overwritten, "2,0,ok")).unwrap();
        assert!(barred.contains("bank A, which held 1.20.5, is gone"), "{barred}");
    }
    let elsewhere = facts(&OLD, Bank::A, "2,0,ok", "1,0,ok");
    assert!(rollback_barred(&intent(), &elsewhere).unwrap().contains("is the one that runs"));
}
