use proptest::prelude::*;

use super::*;

fn any_flags() -> impl Strategy<Value = Flags> {
    (0..=15_u8, 0..=15_u8, any::<bool>()).prop_map(|(priority, tries_left, successful)| Flags {
        priority,
        tries_left,
        successful,
    })
}

proptest! {
    #[test]
    fn which_bank_runs_does_not_matter_to_the_next_boot(a in any_flags(), b in any_flags()) {
        let from_a = Banks { active: Bank::A, running: a, other: b }.next();
        prop_assert_eq!(from_a, Banks { active: Bank::B, running: b, other: a }.next());
    }

    #[test]
    fn the_next_boot_takes_the_best_bank_that_can_boot(a in any_flags(), b in any_flags()) {
        let can = |flags: Flags| flags.priority > 0 && (flags.successful || flags.tries_left > 0);
        match (Banks { active: Bank::A, running: a, other: b }).next() {
            Some(Bank::A) => prop_assert!(can(a) && (!can(b) || a.priority >= b.priority)),
            Some(Bank::B) => prop_assert!(can(b) && (!can(a) || b.priority > a.priority)),
            None => prop_assert!(!can(a) && !can(b)),
        }
    }
}
