use bottlerocket_settings::UpdateAction::{Activate, Deactivate, Prepare, Refresh};
use bottlerocket_settings::{CommandOutcome, UpdateAction, UpdateState, UpdateStatus};
use jiff::Timestamp;
use meshdog::update::banks::Bank;

use super::super::layout::Banked;
use super::super::tests::{Factory, NAME, flags, image};
use super::*;
use crate::disk::held::Held;
use crate::host::updates::{Offer, Refusal, Updater};

fn running(factory: &Factory, active: Bank) -> Running {
    Running { disk: factory.path.clone(), active, shown: NAME.to_owned() }
}

fn updater(running: Running) -> Updater {
    let mut updater = Updater::new(image("1.20.5"), Box::new(running));
    updater.offer = Offer { versions: vec!["1.21.1".parse().unwrap()], max: None };
    updater
}

fn act(updater: &mut Updater, action: UpdateAction) -> Result<UpdateStatus, Refusal> {
    updater.act(action, "latest", Timestamp::UNIX_EPOCH)?;
    updater.status(Timestamp::UNIX_EPOCH).cloned()
}

fn active_is_next(status: &UpdateStatus) -> bool {
    status.active_partition.as_ref().unwrap().next_to_boot
}

#[test]
fn an_update_leaves_the_bits_that_were_recorded() {
    for active in [Bank::A, Bank::B] {
        let factory = Factory::new(Banked::Two);
        let mut disk = factory.disk().unwrap();
        disk.set_flags(active, flags(1, 0, true));
        disk.set_flags(active.other(), flags(2, 0, false));
        disk.write().unwrap();
        let bits = || [active, active.other()].map(|bank| factory.disk().unwrap().flags(bank).unwrap());
        let mut updater = updater(running(&factory, active));

        assert!(active_is_next(&act(&mut updater, Refresh).unwrap()));
        let staged = act(&mut updater, Prepare).unwrap();
        assert_eq!((staged.update_state, bits()), (UpdateState::Staged, [flags(1, 0, true), flags(0, 1, false)]));
        assert_eq!(factory.disk().unwrap().held(active.other()).unwrap(), Held::Image(image("1.21.1")));
        let ready = act(&mut updater, Activate).unwrap();
        assert_eq!((ready.update_state, bits()), (UpdateState::Ready, [flags(1, 0, true), flags(2, 1, false)]));
        act(&mut updater, Deactivate).unwrap();
        assert_eq!(bits(), [flags(2, 0, true), flags(0, 1, false)]);
        act(&mut updater, Activate).unwrap();
        assert_eq!(bits(), [flags(1, 0, true), flags(2, 1, false)]);
    }
}

#[test]
fn what_boots_next_is_asked_of_the_bits_when_the_status_begins() {
    // After a roll-back, and after a first boot that nobody marked.
    for b in [flags(1, 0, true), flags(2, 0, false)] {
        let factory = Factory::with(flags(2, 0, true), b);
        let mut updater = updater(running(&factory, Bank::B));
        assert!(!active_is_next(&act(&mut updater, Refresh).unwrap()));
    }
}

#[test]
fn one_bank_takes_no_update() {
    let factory = Factory::new(Banked::One);
    let mut updater = updater(running(&factory, Bank::A));
    let status = act(&mut updater, Refresh).unwrap();
    assert!(active_is_next(&status) && status.update_state == UpdateState::Available);
    let status = act(&mut updater, Prepare).unwrap();
    assert_eq!(status.update_state, UpdateState::Available);
    let command = status.most_recent_command.unwrap();
    assert_eq!((command.cmd_status, command.exit_status), (CommandOutcome::Failed, Some(1)));
    assert_eq!(command.stderr.as_deref(), Some("Inactive partition /dev/nvme0n1 is not available\n"));
    assert_eq!(act(&mut updater, Activate).unwrap_err(), Refusal::WrongState);
}

#[test]
fn a_disk_that_cannot_be_read_breaks_the_updater() {
    let factory = Factory::new(Banked::Two);
    let mut updater = updater(running(&factory, Bank::A));
    std::fs::rename(&factory.path, factory.path.with_extension("away")).unwrap();
    for action in [Refresh, Prepare, Activate, Deactivate] {
        assert_eq!(act(&mut updater, action).unwrap_err(), Refusal::Broken);
        assert_eq!(updater.status(Timestamp::UNIX_EPOCH).unwrap_err(), Refusal::Uninitialized);
    }
    std::fs::rename(factory.path.with_extension("away"), &factory.path).unwrap();
    act(&mut updater, Refresh).unwrap();
}
