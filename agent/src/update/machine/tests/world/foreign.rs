//! Others at work on the same host.

use super::*;

impl World {
    /// Somebody else drives the host's updater.
    pub(super) fn foreign(&mut self, action: UpdateAction) {
        let done = self.updater.act(action, &self.version_lock, self.wall).is_ok();
        self.pass(Duration::from_millis(1));
        let command = self.updater.status(self.wall).ok().and_then(|status| status.most_recent_command.as_ref());
        if !(done && command.is_some_and(|command| command.cmd_status == CommandOutcome::Success)) {
            return;
        }
        self.witness.touched = true;
        match action {
            UpdateAction::Refresh => self.hide(),
            UpdateAction::Prepare => self.witness.foreign_prepare = Some(self.wall),
            UpdateAction::Activate | UpdateAction::Deactivate => self.witness.turned(self.wall),
        }
    }

    /// Somebody else uses signpost.
    pub(super) fn foreign_rollback(&mut self) {
        let mut disk = self.disk.lock().unwrap();
        let before = disk.banks().next();
        let turned = disk.roll_back().is_ok() && disk.banks().next() != before;
        drop(disk);
        self.pass(Duration::from_millis(1));
        if turned {
            self.witness.turned(self.wall);
        }
    }

    /// The operator writes `version-lock`.
    pub(super) fn foreign_lock(&mut self, what: u8) {
        let versions = &self.updater.offer.versions;
        let lock = match what {
            0 => "latest".to_owned(),
            1 => self.running().to_string(),
            2 => format!("v{}", versions.first().unwrap_or(&version(20))),
            _ => versions.last().unwrap_or(&version(20)).to_string(),
        };
        // What a rollback would write, too, says nothing of who wrote it.
        let pins = [self.state.memory.pin.clone(), self.on_disk().memory.pin];
        match pins.map(|pin| pin.filter(|pin| pin.keeps(&lock)).map(|pin| pin.before)) {
            [None, None] => self.witness.operators_lock = (lock.clone(), self.wall),
            [Some(before), Some(_)] => self.witness.operators_lock = (before, self.wall),
            // It would depend on whether the agent is restarted before its journal can be written.
            _ => return,
        }
        self.version_lock = lock;
    }
}
