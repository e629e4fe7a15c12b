//! How the nodes of a fleet take turns, and tell each other which versions are bad.
//!
//! Receives what the settings say and what this node has to tell; emits whose turn it is and what the others told.
//! Asks a lock server (`fleetlock`) or etcd (`etcd`) when it is called and holds nothing between calls, so that it has
//! nothing to lose in a reboot. Never decides whether this node updates, and never asks again by itself.

mod board;
mod etcd;
mod fleetlock;
mod ruling;

use std::num::NonZeroU32;

use jiff::Timestamp;
use semver::Version;

pub use board::Board;
pub use etcd::EtcdError;
pub use fleetlock::LockServerError;
pub use ruling::{Grant, Outcome, Ruling};

use crate::config::EtcdSettings;
use crate::config::update::{FleetLock, FleetSettings};

/// Why the fleet could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The lock server.
    #[error(transparent)]
    LockServer(#[from] LockServerError),
    /// etcd, as lock or as board.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

/// The other nodes of this node's group, as far as they can be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    lock: Lock,
    board: Option<etcd::Group>,
}

#[derive(Debug, Clone)]
enum Lock {
    /// This node stands alone.
    None,
    Server(fleetlock::LockServer),
    Etcd(etcd::Group, NonZeroU32),
}

impl Fleet {
    /// The fleet that `settings` name, with its board on the etcd cluster `board`. Nothing is connected yet.
    ///
    /// # Errors
    /// There is no HTTP at all on this machine.
    pub fn new(settings: &FleetSettings, board: Option<&EtcdSettings>) -> Result<Self, FleetError> {
        let group = &settings.group;
        let lock = match &settings.lock {
            FleetLock::None => Lock::None,
            FleetLock::FleetLock(url) => Lock::Server(fleetlock::LockServer::new(url, group)?),
            FleetLock::Etcd(etcd) => Lock::Etcd(etcd::Group::new(&etcd.endpoints, group)?, settings.max_at_once),
        };
        let board = board.map(|etcd| etcd::Group::new(&etcd.endpoints, group)).transpose()?;
        Ok(Self { lock, board })
    }

    /// Asks for this node's turn. A node that holds the lock already is granted it again.
    ///
    /// # Errors
    /// When whoever keeps the lock does not answer, or fails. The lock may have been granted all the same.
    pub async fn acquire(&self, node: &str) -> Result<Grant, FleetError> {
        Ok(match &self.lock {
            Lock::None => Grant::Granted,
            Lock::Server(server) => server.acquire(node).await?,
            Lock::Etcd(group, max) => group.acquire(node, *max).await?,
        })
    }

    /// Gives this node's turn back. It is well if it had none.
    ///
    /// # Errors
    /// When whoever keeps the lock does not answer, or fails. The lock may have been given back all the same.
    pub async fn release(&self, node: &str) -> Result<(), FleetError> {
        match &self.lock {
            Lock::None => {}
            Lock::Server(server) => server.release(node).await?,
            Lock::Etcd(group, _) => group.release(node).await?,
        }
        Ok(())
    }

    /// Whether there is a board: without one nothing is told, and nothing heard.
    #[must_use]
    pub fn has_board(&self) -> bool {
        self.board.is_some()
    }

    /// What the fleet says; empty without a board.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn board(&self) -> Result<Board, FleetError> {
        Ok(match &self.board {
            Some(group) => group.board().await?,
            None => Board::default(),
        })
    }

    /// Tells the fleet a word about a version; one that is at least as new stays.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn rule(&self, version: &Version, ruling: &Ruling) -> Result<(), FleetError> {
        match &self.board {
            Some(group) => Ok(group.rule(version, ruling).await?),
            None => Ok(()),
        }
    }

    /// Tells the fleet how an update ended here; a word that is at least as new stays.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn report(&self, node: &str, outcome: &Outcome) -> Result<(), FleetError> {
        match &self.board {
            Some(group) => Ok(group.report(node, outcome).await?),
            None => Ok(()),
        }
    }

    /// Closes the circuit: outcomes from before `at` no longer count for [`Board::breaker`], on any node of the group.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn reset(&self, at: Timestamp) -> Result<(), FleetError> {
        match &self.board {
            Some(group) => Ok(group.reset(at).await?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
