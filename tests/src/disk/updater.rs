//! What the updater does to a real disk.
//!
//! Source: core-kit `sources/updater/updog/src/main.rs`, `update_image` and what follows it.

use bottlerocket_settings::Image;

use super::running::Running;
use super::signpost::{Command, Failure, Turn, active_is_next, run};
use crate::host::updates::Banks;

impl Banks for Running {
    fn active_is_next(&self) -> Result<bool, String> {
        active_is_next(self).map_err(|error| stderr(error.into()))
    }

    fn write(&mut self, image: &Image) -> Result<(), String> {
        turn(Turn::Clear, self)?;
        let written = self.open().and_then(|disk| disk.hold(self.active.other(), image));
        written.map_err(|error| stderr(error.into()))?;
        turn(Turn::MarkValid, self)
    }

    fn activate(&mut self) -> Result<(), String> {
        turn(Turn::Upgrade, self)
    }

    fn revert(&mut self) -> Result<(), String> {
        turn(Turn::Cancel, self)
    }
}

fn turn(how: Turn, running: &Running) -> Result<(), String> {
    run(Command::Turn(how), running).map(drop).map_err(stderr)
}

fn stderr(failure: Failure) -> String {
    format!("{failure}\n")
}

#[cfg(test)]
mod tests;
