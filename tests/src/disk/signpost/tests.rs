//! Against what the real program printed and wrote (core-kit v3.1.1).

use proptest::prelude::*;

use super::super::layout::Banked;
use super::super::tests::{Factory, NAME, flags};
use super::*;

fn running(factory: &Factory, active: Bank) -> Running {
    Running { disk: factory.path.clone(), active, shown: NAME.to_owned() }
}

/// What a command prints, or on which words it fails.
fn ask(factory: &Factory, active: Bank, command: &str) -> Result<String, String> {
    run(Command::named(command).unwrap(), &running(factory, active)).map_err(|failure| failure.to_string())
}

const OK: Result<&str, &str> = Ok("");
const NEW: Result<&str, &str> = Err("Inactive partition /dev/nvme0n1 has not been marked valid for upgrade");
const MARKED: Result<&str, &str> = Err("Inactive partition /dev/nvme0n1 is already marked for upgrade");
const NONE: Result<&str, &str> = Err("Inactive partition /dev/nvme0n1 is not available");
const PRIVATE: u64 = 0x0200_0000_0000_0000;

#[test]
fn a_life_from_the_factory_on_is_as_recorded() {
    let factory = Factory::new(Banked::Two);
    let never = Err("Inactive partition is not valid to roll back to (priority=0 tries_left=0 successful=false)");
    let early = Err("Inactive partition is not valid to roll back to (priority=0 tries_left=1 successful=false)");
    let (a1, a2) = (0x0101_0000_0000_0000, 0x0102_0000_0000_0000);
    let (valid, marked) = (0x0010_0000_0000_0000, 0x0012_0000_0000_0000);
    let life = [
        ("has-boot-ever-succeeded", OK, [a1, 0, 0]),
        ("rewrite-table", OK, [a1, 0, 0]),
        ("mark-successful-boot", OK, [a1, 0, PRIVATE]),
        ("has-boot-ever-succeeded", Ok("true\n"), [a1, 0, PRIVATE]),
        ("upgrade-to-inactive", NEW, [a1, 0, PRIVATE]),
        ("rollback-to-inactive", never, [a1, 0, PRIVATE]),
        ("cancel-upgrade", OK, [a2, 0, PRIVATE]),
        ("clear-inactive", OK, [a2, 0, PRIVATE]),
        ("mark-inactive-valid", OK, [a2, valid, PRIVATE]),
        ("rollback-to-inactive", early, [a2, valid, PRIVATE]),
        ("upgrade-to-inactive", OK, [a1, marked, PRIVATE]),
        ("upgrade-to-inactive", MARKED, [a1, marked, PRIVATE]),
        ("rollback-to-inactive", OK, [a1, marked, PRIVATE]),
        ("cancel-upgrade", OK, [a2, valid, PRIVATE]),
        ("cancel-upgrade", OK, [a2, valid, PRIVATE]),
        ("upgrade-to-inactive", OK, [a1, marked, PRIVATE]),
        ("mark-successful-boot", OK, [a1, marked, PRIVATE]),
        ("clear-inactive", OK, [a1, 0, PRIVATE]),
    ];
    for (step, (command, said, words)) in life.into_iter().enumerate() {
        assert_eq!(ask(&factory, Bank::A, command).as_deref().map_err(String::as_str), said, "{step}: {command}");
        assert_eq!(factory.words(), words, "{step}: {command}");
    }
}

#[test]
fn only_the_attributes_and_their_checksums_are_written() {
    let factory = Factory::new(Banked::Two);
    let sector = |number: usize| number * 512;
    let last = factory.bytes().len() / 512 - 1;
    let changed = |command: &str| {
        let before = factory.bytes();
        ask(&factory, Bank::A, command).unwrap();
        let after = factory.bytes();
        (0..after.len()).filter(|at| before[*at] != after[*at]).collect::<Vec<_>>()
    };
    // Both headers: their own checksum, and that of the entries.
    let headers =
        [1, last].map(|header| [sector(header) + 16..sector(header) + 20, sector(header) + 88..sector(header) + 92]);
    let of_headers = |at: &usize| headers.as_flattened().iter().any(|bytes| bytes.contains(at));
    // The last byte of PRIVATE's attributes, the last but one of BOOT-A's and of BOOT-B's, in both tables.
    let commands = [
        ("rewrite-table", vec![]),
        ("mark-successful-boot", vec![sector(4) + 439, sector(last - 30) + 439]),
        ("cancel-upgrade", vec![sector(2) + 310, sector(last - 32) + 310]),
        ("mark-inactive-valid", vec![sector(3) + 438, sector(last - 31) + 438]),
        ("mark-inactive-valid", vec![]),
    ];
    for (command, expected) in commands {
        let changed = changed(command);
        let elsewhere: Vec<_> = changed.iter().copied().filter(|at| !of_headers(at)).collect();
        assert_eq!(elsewhere, expected, "{command}");
        assert_eq!(changed.is_empty(), expected.is_empty(), "{command}");
    }
}

#[test]
fn a_status_reads_as_recorded_whatever_the_flags() {
    let recorded = include_str!("../../../../agent/src/update/banks/status/recorded.txt");
    let cases: Vec<_> = recorded.split("== ").filter_map(|case| case.split_once('\n')).collect();
    assert_eq!(cases.len(), 25);
    let factory = Factory::new(Banked::Two);
    for (title, text) in cases {
        let banks: meshdog::update::banks::Banks = text.parse().unwrap();
        let mut disk = factory.disk().unwrap();
        disk.set_flags(banks.active, banks.running);
        disk.set_flags(banks.active.other(), banks.other);
        disk.write().unwrap();
        assert_eq!(ask(&factory, banks.active, "status").as_deref(), Ok(text), "{title}");
    }
}

#[test]
fn after_a_fallback_the_failed_bank_is_refused_as_recorded() {
    let factory = Factory::with(flags(1, 0, true), flags(2, 0, false));
    let refused =
        Err("Inactive partition is not valid to roll back to (priority=2 tries_left=0 successful=false)".to_owned());
    assert_eq!(ask(&factory, Bank::A, "rollback-to-inactive"), refused);
    assert_eq!(ask(&factory, Bank::A, "upgrade-to-inactive").as_deref().map_err(String::as_str), MARKED);
    ask(&factory, Bank::A, "mark-inactive-valid").unwrap();
    assert_eq!(factory.disk().unwrap().flags(Bank::B), Some(flags(2, 1, false)), "it is armed again");
}

#[test]
fn one_bank_has_no_other() {
    for factory in [Factory::new(Banked::One), Factory::new(Banked::Two).without(&[8])] {
        // Whatever is said of it, the bank that is there is the one that runs.
        for active in [Bank::A, Bank::B] {
            let status = "\
OS disk: /dev/nvme0n1
Set A:   boot=/dev/nvme0n1p3 root=/dev/nvme0n1p4 hash=/dev/nvme0n1p5 priority=1 tries_left=0 successful=true
Active:  Set A
Next:    Set A
";
            assert_eq!(ask(&factory, active, "status").as_deref(), Ok(status));
            for (name, command) in Command::ALL {
                let said = ask(&factory, active, name);
                match command {
                    Command::Turn(_) => assert_eq!(said.as_deref().map_err(String::as_str), NONE, "{name}"),
                    _ => assert!(said.is_ok(), "{name}"),
                }
            }
            assert_eq!(ask(&factory, active, "has-boot-ever-succeeded").as_deref(), Ok("true\n"));
        }
    }
}

#[test]
fn disks_are_called_what_they_are() {
    assert_eq!(device("/dev/nvme0n1", 3), "/dev/nvme0n1p3");
    assert_eq!(device("/dev/vda", 12), "/dev/vda12");
}

/// The flags of both banks and whether any boot ever succeeded, as the documented transitions turn them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Model {
    active: Flags,
    inactive: Flags,
    ever: bool,
}

impl Model {
    /// Whether a command is allowed, with what it does.
    fn step(mut self, command: &str) -> Option<Self> {
        let (active, inactive) = (&mut self.active, &mut self.inactive);
        let valid = inactive.priority == 0 && !inactive.successful && inactive.tries_left > 0;
        let bootable = (inactive.priority > 0 && inactive.tries_left > 0) || inactive.successful;
        match command {
            "mark-successful-boot" => (active.successful, self.ever) = (true, true),
            "clear-inactive" => *inactive = flags(0, 0, false),
            "mark-inactive-valid" => inactive.tries_left = 1,
            "upgrade-to-inactive" if valid => (inactive.priority, active.priority) = (2, 1),
            "cancel-upgrade" => (inactive.priority, active.priority) = (0, 2),
            "rollback-to-inactive" if bootable => (inactive.priority, active.priority) = (2, 1),
            "upgrade-to-inactive" | "rollback-to-inactive" => return None,
            _ => {}
        }
        Some(self)
    }
}

fn any_flags() -> impl Strategy<Value = Flags> {
    let small = prop_oneof![4 => 0..=2_u8, 1 => 3..=15_u8];
    (small.clone(), small, any::<bool>()).prop_map(|(priority, tries, successful)| flags(priority, tries, successful))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_does_what_the_table_says(
        a in any_flags(),
        b in any_flags(),
        runs_b in any::<bool>(),
        commands in prop::collection::vec(prop::sample::select(&Command::ALL[..]), 1..12),
    ) {
        let factory = Factory::with(a, b);
        let active = if runs_b { Bank::B } else { Bank::A };
        let model = |disk: Disk| Model {
            active: disk.flags(active).unwrap(),
            inactive: disk.flags(active.other()).unwrap(),
            ever: disk.ever_booted(),
        };
        let mut expected = model(factory.disk().unwrap());
        for (name, _) in commands {
            let before = factory.bytes();
            let said = ask(&factory, active, name);
            let after = expected.step(name);
            prop_assert_eq!(said.is_ok(), after.is_some(), "{} from {:?}: {:?}", name, expected, said);
            expected = after.unwrap_or(expected);
            prop_assert_eq!(model(factory.disk().unwrap()), expected, "{}", name);
            prop_assert!(said.is_ok() || factory.bytes() == before, "a refused command writes nothing");
        }
    }
}
