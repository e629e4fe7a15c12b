use meshdog::update::banks::Banks;

use super::super::layout::{Banked, SECTOR};
use super::super::tests::{Factory, NAME, flags, image};
use super::*;

#[test]
fn the_agent_foretells_what_boots_whatever_the_flags() {
    let factory = Factory::new(Banked::Two);
    let mut disk = factory.disk().unwrap();
    let mut some = Vec::new();
    for priority in [0, 1, 2, 3, 15] {
        for tries_left in [0, 1, 15] {
            some.extend([false, true].map(|successful| flags(priority, tries_left, successful)));
        }
    }
    for a in &some {
        for b in &some {
            disk.set_flags(Bank::A, *a);
            disk.set_flags(Bank::B, *b);
            let foretold = Banks { active: Bank::A, running: *a, other: *b }.next();
            assert_eq!(choose(&disk).map(|(bank, _)| bank), foretold, "{a} | {b}");
        }
    }
}

fn boot_of(factory: &Factory) -> Result<Booted, String> {
    boot(&factory.path, NAME).map_err(|error| error.to_string())
}

#[test]
fn a_bank_that_has_booted_boots_and_nothing_is_written() {
    let factory = Factory::with(flags(1, 0, true), flags(2, 0, false));
    let before = factory.bytes();
    assert_eq!(boot_of(&factory), Ok(Booted { bank: Bank::A, image: image("1.20.5") }));
    assert!(factory.bytes() == before);
}

#[test]
fn a_new_bank_is_tried_once() {
    let factory = Factory::with(flags(1, 0, true), flags(2, 1, false));
    factory.disk().unwrap().hold(Bank::B, &image("1.21.1")).unwrap();
    assert_eq!(boot_of(&factory), Ok(Booted { bank: Bank::B, image: image("1.21.1") }));
    assert_eq!(factory.disk().unwrap().flags(Bank::B), Some(flags(2, 0, false)));
    assert_eq!(boot_of(&factory), Ok(Booted { bank: Bank::A, image: image("1.20.5") }));
}

#[test]
fn an_image_that_was_cut_off_does_not_load() {
    let factory = Factory::with(flags(1, 0, true), flags(2, 2, false));
    factory.disk().unwrap().hold(Bank::B, &image("1.21.1")).unwrap();
    // The JSON of bank B, the eighth partition.
    factory.damage((8 * 2048 * SECTOR / 512 + 1) as i64);
    assert_eq!(boot_of(&factory), Ok(Booted { bank: Bank::A, image: image("1.20.5") }));
    assert_eq!(factory.disk().unwrap().flags(Bank::B), Some(flags(2, 0, false)), "it had both its tries");
}

#[test]
fn a_machine_may_never_boot_again() {
    let none = Factory::with(flags(1, 0, false), flags(0, 1, true));
    assert_eq!(boot_of(&none), Err("no bank can be booted".to_owned()));
    // Once it is marked successful, a bank that holds nothing is tried for ever.
    let stuck = Factory::with(flags(1, 0, true), flags(2, 0, true));
    let error = "bank B holds no whole image, and is tried again and again";
    assert_eq!(boot_of(&stuck), Err(error.to_owned()));
}
