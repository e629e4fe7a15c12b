use proptest::prelude::*;

use super::*;

/// What the real program (core-kit v3.1.1) printed for banks of every kind, with what its boot loader would take, had
/// it been asked then.
const RECORDED: &str = include_str!("recorded.txt");

/// The recorded statuses: what was the case, GRUB's choice, the text.
fn recorded() -> Vec<(&'static str, Option<Bank>, &'static str)> {
    let cases = RECORDED.split("== ").filter(|case| !case.is_empty()).map(|case| {
        let (title, text) = case.split_once('\n').unwrap();
        let (name, choice) = title.split_once("; GRUB: ").unwrap();
        let choice = match choice {
            "A" => Some(Bank::A),
            "B" => Some(Bank::B),
            "none" => None,
            _ => panic!("{title}"),
        };
        (name, choice, text)
    });
    cases.collect()
}

fn flags(priority: u8, tries_left: u8, successful: bool) -> Flags {
    Flags { priority, tries_left, successful }
}

#[test]
fn every_recorded_status_is_read_and_boots_what_grub_would() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 25);
    for (name, choice, text) in recorded {
        let banks: Banks = text.parse().unwrap();
        assert_eq!(banks.next(), choice, "{name}: {text}");
        // Where signpost says otherwise, it is for a bank of priority 0 that has booted.
        let said = match text.lines().find_map(|line| line.strip_prefix("Next:")).unwrap().trim() {
            "Set A" => Some(Bank::A),
            "Set B" => Some(Bank::B),
            _ => None,
        };
        let stale = |flags: Flags| flags.priority == 0 && flags.successful;
        assert!(said == choice || stale(banks.running) || stale(banks.other), "{name}: {text}");
        assert_eq!(text.contains("Active:  Set B"), banks.active == Bank::B);
    }
}

#[test]
fn flags_are_those_of_their_set_whatever_the_devices() {
    let named = |wanted: &str| -> Vec<Banks> {
        let texts = recorded().into_iter().filter(|(name, ..)| *name == wanted);
        texts.map(|(.., text)| text.parse().unwrap()).collect()
    };
    let after_activate = named("after activate");
    let (a, b) = (flags(1, 0, true), flags(2, 1, false));
    assert_eq!(after_activate[0], Banks { active: Bank::A, running: a, other: b });
    assert_eq!(after_activate[1], Banks { active: Bank::B, running: b, other: a });
    let (a, b) = (flags(15, 15, false), flags(15, 15, true));
    assert_eq!(named("15s")[0], Banks { active: Bank::A, running: a, other: b });
}

#[test]
fn a_disk_with_one_bank_is_told_apart() {
    let status = "\
OS disk: /dev/nvme0n1
Set A:   boot=/dev/nvme0n1p3 root=/dev/nvme0n1p4 hash=/dev/nvme0n1p5 priority=1 tries_left=0 successful=true
Active:  Set A
Next:    Set A
";
    assert_eq!(status.parse::<Banks>(), Err(StatusError::SingleBank));
}

#[test]
fn what_is_needed_must_be_there_once_and_in_bounds() {
    let whole = "\
Set A: priority=1 tries_left=0 successful=true
Set B: priority=2 tries_left=1 successful=false
Active: Set A
";
    let field = |bank, field| StatusError::Field { bank, field };
    let cases = [
        (("", ""), Ok(())),
        (("Active", "Firmware: new\nActive"), Ok(())),
        (("priority=2", "colour=blue weight priority=2"), Ok(())),
        (("Set A: ", "set a: "), Err(StatusError::Missing("Set A"))),
        (("Active: Set A", "Active: Set C"), Err(StatusError::Active)),
        (("Active: Set A", ""), Err(StatusError::Missing("Active"))),
        (("Set B: ", "Set C: "), Err(StatusError::SingleBank)),
        (("Set B: priority=2 tries_left=1 successful=false\nActive: Set A", "Active: Set B"), {
            Err(StatusError::Missing("Set B"))
        }),
        (("Set B: ", "Set A: "), Err(StatusError::Twice("Set A"))),
        (("Active: Set A", "Active: Set A\nActive: Set B"), Err(StatusError::Twice("Active"))),
        (("priority=2", "priority=2 priority=3"), Err(StatusError::Twice("priority"))),
        (("priority=2", ""), Err(field(Bank::B, "priority"))),
        (("priority=2", "priority=16"), Err(field(Bank::B, "priority"))),
        (("priority=1", "priority=-1"), Err(field(Bank::A, "priority"))),
        (("tries_left=1", "tries_left="), Err(field(Bank::B, "tries_left"))),
        (("tries_left=1", "tries_left=256"), Err(field(Bank::B, "tries_left"))),
        (("successful=false", "successful=no"), Err(field(Bank::B, "successful"))),
        (("successful=true", "successful=True"), Err(field(Bank::A, "successful"))),
    ];
    for ((from, to), expected) in cases {
        let status = whole.replacen(from, to, 1);
        assert_eq!(status.parse::<Banks>().map(drop), expected, "{status}");
    }
    assert_eq!("".parse::<Banks>(), Err(StatusError::Missing("Set A")));
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "(Set [AB]|Active|[a-z ]|[:=\n0-9]|priority=|tries_left=|successful=true){0,60}") {
        if let Ok(banks) = text.parse::<Banks>() {
            for flags in [banks.running, banks.other] {
                prop_assert!(flags.priority <= MAX && flags.tries_left <= MAX);
            }
        }
    }
}
