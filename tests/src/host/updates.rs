//! The updater: its states, what it takes and refuses in each, and its awkward answers. Pure: time is told to it.
//!
//! Sources: core-kit `sources/api/thar-be-updates/src/{main,status,error}.rs` for the states, and
//! `sources/updater/updog/src/main.rs` for which version is chosen. What an action does to the disk is behind
//! [`Banks`].

use std::fmt::Debug;
use std::time::Duration;

use bottlerocket_settings::{
    Command, CommandKind, CommandOutcome, Image, Partition, UpdateAction, UpdateState, UpdateStatus,
};
use jiff::Timestamp;
use semver::Version;

/// The two sets of partitions, as the updater uses them: one runs, the other takes updates. An error is what the
/// program that failed wrote to its standard error.
pub trait Banks: Debug + Send {
    /// Whether the next boot takes the bank that runs.
    ///
    /// # Errors
    /// The disk cannot be read.
    fn active_is_next(&self) -> Result<bool, String>;
    /// updog `update-image`: clear the other bank, write the image to it, mark it valid.
    ///
    /// # Errors
    /// There is no such bank, or it cannot be written.
    fn write(&mut self, image: &Image) -> Result<(), String>;
    /// updog `update-apply`: let the next boot take the other bank.
    ///
    /// # Errors
    /// It is not marked valid.
    fn activate(&mut self) -> Result<(), String>;
    /// updog `update-revert`: let the next boot take the bank that runs.
    ///
    /// # Errors
    /// The disk cannot be written.
    fn revert(&mut self) -> Result<(), String>;
}

/// Banks that do whatever they are asked.
#[derive(Debug, Default)]
pub struct Willing {
    other_is_next: bool,
}

impl Banks for Willing {
    fn active_is_next(&self) -> Result<bool, String> {
        Ok(!self.other_is_next)
    }

    fn write(&mut self, _: &Image) -> Result<(), String> {
        self.other_is_next = false;
        Ok(())
    }

    fn activate(&mut self) -> Result<(), String> {
        self.other_is_next = true;
        Ok(())
    }

    fn revert(&mut self) -> Result<(), String> {
        self.other_is_next = false;
        Ok(())
    }
}

/// What the update repository offers, newest first.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// The versions.
    pub versions: Vec<Version>,
    /// The newest version that a host should run: above it, hosts go down to it. None: the newest offered.
    pub max: Option<Version>,
}

/// How an action is made to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    #[default]
    Well,
    /// The program exits so, with this on its standard error.
    Exit(i32, String),
    /// The program's words cannot be read: counts as a success that changes nothing.
    FalseSuccess,
    /// The program cannot be started: no trace of the action at all.
    NoTrace,
}

/// Who else holds the updater's lock file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignLock {
    /// Nobody.
    #[default]
    None,
    /// A reader: the status can be read, actions are refused.
    Shared,
    /// A writer: nothing can be done.
    Exclusive,
}

/// Why the updater refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 423
    Busy,
    /// 404: nothing has been asked of it in this boot.
    Uninitialized,
    /// 409
    WrongState,
    /// 404: the version that was chosen is gone.
    NothingChosen,
    /// 404: no image was written.
    NothingStaged,
    /// 500: the disk cannot be read.
    Broken,
}

/// The updater of one boot.
#[derive(Debug)]
pub struct Updater {
    running: Image,
    banks: Box<dyn Banks>,
    status: Option<UpdateStatus>,
    work: Option<Work>,
    /// What a refresh finds.
    pub offer: Offer,
    /// How long each action takes.
    pub takes: Duration,
    /// How the actions to come end.
    pub ending: Ending,
    /// Who else holds the lock.
    pub foreign: ForeignLock,
}

/// An action under way.
#[derive(Debug)]
struct Work {
    action: UpdateAction,
    done: Timestamp,
    version_lock: String,
    ending: Ending,
}

impl Updater {
    /// The updater after a boot into `running`: it remembers nothing.
    #[must_use]
    pub fn new(running: Image, banks: Box<dyn Banks>) -> Self {
        Self {
            running,
            banks,
            status: None,
            work: None,
            offer: Offer::default(),
            takes: Duration::ZERO,
            ending: Ending::Well,
            foreign: ForeignLock::None,
        }
    }

    /// A reboot into `running`: the status is gone, the offer and the banks stay.
    pub fn boot(&mut self, running: Image) {
        (self.running, self.status, self.work) = (running, None, None);
    }

    /// The same, where it is other banks now that run and take updates.
    pub fn boot_from(&mut self, running: Image, banks: Box<dyn Banks>) {
        self.banks = banks;
        self.boot(running);
    }

    /// The status.
    ///
    /// # Errors
    /// [`Refusal::Busy`] or [`Refusal::Uninitialized`].
    pub fn status(&mut self, now: Timestamp) -> Result<&UpdateStatus, Refusal> {
        self.settle(now);
        if self.work.is_some() || self.foreign == ForeignLock::Exclusive {
            return Err(Refusal::Busy);
        }
        self.status.as_ref().ok_or(Refusal::Uninitialized)
    }

    /// Begins an action, which is over after [`Self::takes`]; `version_lock` is `settings.updates.version-lock`.
    ///
    /// # Errors
    /// Any [`Refusal`]; whatever but busy and broken still initialises the status.
    pub fn act(&mut self, action: UpdateAction, version_lock: &str, now: Timestamp) -> Result<(), Refusal> {
        self.settle(now);
        if self.work.is_some() || self.foreign != ForeignLock::None {
            return Err(Refusal::Busy);
        }
        let status = match &mut self.status {
            Some(status) => status,
            none => {
                let next_to_boot = self.banks.active_is_next().map_err(|_| Refusal::Broken)?;
                none.insert(UpdateStatus {
                    update_state: UpdateState::Idle,
                    available_updates: Vec::new(),
                    chosen_update: None,
                    active_partition: Some(Partition { image: self.running.clone(), next_to_boot }),
                    staging_partition: None,
                    most_recent_command: None,
                    rest: Default::default(),
                })
            }
        };
        let state = &status.update_state;
        let allowed = match action {
            UpdateAction::Refresh => true,
            UpdateAction::Prepare => matches!(state, UpdateState::Available | UpdateState::Staged),
            UpdateAction::Activate => *state == UpdateState::Staged,
            UpdateAction::Deactivate => *state == UpdateState::Ready,
        };
        if !allowed {
            return Err(Refusal::WrongState);
        }
        if action == UpdateAction::Prepare && status.chosen_update.is_none() {
            return Err(Refusal::NothingChosen);
        }
        if action == UpdateAction::Activate && status.staging_partition.is_none() {
            return Err(Refusal::NothingStaged);
        }
        let done = now.checked_add(self.takes).unwrap_or(now);
        let (version_lock, ending) = (version_lock.to_owned(), self.ending.clone());
        self.work = Some(Work { action, done, version_lock, ending });
        Ok(())
    }

    /// Ends the action under way if its time has come: what it does to the banks is done then, and not before.
    pub fn settle(&mut self, now: Timestamp) {
        let Some(work) = self.work.take_if(|work| work.done <= now) else { return };
        let Some(mut status) = self.status.take() else { return };
        let (cmd_status, exit_status, stderr) = match work.ending {
            Ending::NoTrace => {
                self.status = Some(status);
                return;
            }
            Ending::FalseSuccess => (CommandOutcome::Success, 0, String::new()),
            Ending::Exit(code, stderr) => {
                self.fail(work.action, &mut status);
                (CommandOutcome::Failed, code, stderr)
            }
            Ending::Well => match self.carry_out(&work, &mut status) {
                Ok(()) => (CommandOutcome::Success, 0, String::new()),
                Err(stderr) => (CommandOutcome::Failed, 1, stderr),
            },
        };
        status.most_recent_command = Some(Command {
            cmd_type: work.action.kind(),
            cmd_status,
            timestamp: format!("{:.9}", work.done),
            exit_status: Some(exit_status),
            stderr: Some(stderr),
        });
        self.status = Some(status);
    }

    /// A failed refresh forgets the state but not what was found before; any other failed action changes nothing.
    fn fail(&self, action: UpdateAction, status: &mut UpdateStatus) {
        if action.kind() == CommandKind::Refresh && !staged(status) {
            status.update_state = UpdateState::Idle;
        }
    }

    fn carry_out(&mut self, work: &Work, status: &mut UpdateStatus) -> Result<(), String> {
        match work.action {
            UpdateAction::Refresh => {
                let chosen = choose(&self.running.version, &self.offer, &work.version_lock);
                status.available_updates = self.offer.versions.iter().map(Version::to_string).collect();
                status.chosen_update = chosen.map(|v| Image { version: v.to_string(), ..self.running.clone() });
                if !staged(status) {
                    let chosen = status.chosen_update.is_some();
                    status.update_state = if chosen { UpdateState::Available } else { UpdateState::Idle };
                }
            }
            UpdateAction::Prepare => {
                let Some(image) = status.chosen_update.clone() else { return Err("no version chosen".to_owned()) };
                self.banks.write(&image)?;
                status.staging_partition = Some(Partition { image, next_to_boot: false });
                status.update_state = UpdateState::Staged;
            }
            UpdateAction::Activate => {
                self.banks.activate()?;
                swap_next(status, true);
                status.update_state = UpdateState::Ready;
            }
            UpdateAction::Deactivate => {
                self.banks.revert()?;
                swap_next(status, false);
                status.update_state = UpdateState::Staged;
            }
        }
        Ok(())
    }
}

fn staged(status: &UpdateStatus) -> bool {
    matches!(status.update_state, UpdateState::Staged | UpdateState::Ready)
}

fn swap_next(status: &mut UpdateStatus, staging: bool) {
    if let Some(partition) = &mut status.staging_partition {
        partition.next_to_boot = staging;
    }
    if let Some(partition) = &mut status.active_partition {
        partition.next_to_boot = !staging;
    }
}

/// The version that a refresh chooses: under a lock exactly that one, even an older one, if it is on offer; else the
/// newest one, if it is newer, or if what runs is above the newest that should.
fn choose<'a>(running: &str, offer: &'a Offer, lock: &str) -> Option<&'a Version> {
    let running = Version::parse(running).ok()?;
    if lock != "latest" {
        let lock = Version::parse(lock.strip_prefix('v').unwrap_or(lock)).ok()?;
        return offer.versions.iter().find(|version| **version == lock && lock != running);
    }
    let max = offer.max.as_ref().or(offer.versions.first())?;
    offer.versions.iter().find(|version| **version <= *max && (**version > running || running > *max))
}

#[cfg(test)]
mod tests;
