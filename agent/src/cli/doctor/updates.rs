//! What updates of the OS need: two banks, a journal, and a fleet that answers. Nothing of it where updates are off,
//! and nothing of it that the mesh cannot do without.

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::{CONNECT, DoctorCheck};
use crate::config::Settings;
use crate::config::update::{FleetLock, FleetSettings, UpdateMode};
use crate::model::error_chain;
use crate::update::banks::Banks;
use crate::update::banks::signpost::{Signpost, SignpostError};
use crate::update::fleet::Fleet;
use crate::update::journal::Journal;

/// How long the board may take: etcd without a leader needs a while to say so.
const BOARD: Duration = Duration::from_secs(10);

/// Looks at everything that updates need.
pub(super) async fn look(settings: &Settings) -> Vec<DoctorCheck> {
    if settings.update.mode == UpdateMode::Off {
        return Vec::new();
    }
    let fleet = &settings.update.fleet;
    let mut checks = vec![
        banks(Signpost::new(settings.paths.signpost.clone()).status().await),
        DoctorCheck::new(
            "update journal",
            journal(&settings.paths.state_dir),
            "see that update-journal.0 and .1 in paths.state_dir can be read; remove both to forget an update under way",
        ),
    ];
    if let FleetLock::FleetLock(url) = &fleet.lock {
        let advice = "start the lock server, or correct update.fleet.url; no update begins without";
        checks.push(DoctorCheck::new("lock server", lock_server(url).await, advice));
    }
    if fleet.board.is_some() {
        let advice = "start etcd, or correct registry.etcd.endpoints; no update begins without";
        checks.push(DoctorCheck::new("fleet's board", board(fleet).await, advice));
    }
    checks.into_iter().map(DoctorCheck::wanted).collect()
}

fn banks(found: Result<Banks, SignpostError>) -> DoctorCheck {
    let unsupported = matches!(&found, Err(error) if error.is_unsupported());
    let advice = match unsupported {
        true => "set update.mode to off: this host is updated by replacing it",
        false => "run meshdog as a superpowered host container, or correct paths.signpost",
    };
    let found = found.map_err(|error| error_chain(&error)).and_then(|banks| match banks.next() {
        Some(next) if next == banks.active => Ok(format!("bank {next} runs, and boots next")),
        Some(next) => Ok(format!("bank {} runs, and bank {next} boots next", banks.active)),
        None => Err(format!("bank {} runs, and neither would boot again", banks.active)),
    });
    DoctorCheck::new("banks", found, advice)
}

/// Reads it. A directory that is not there yet is left so.
fn journal(directory: &Path) -> Result<String, String> {
    if !directory.is_dir() {
        return Ok("none yet".to_owned());
    }
    let (_, loaded) = Journal::open(directory).map_err(|error| error_chain(&error))?;
    match (&loaded.body, loaded.is_lost()) {
        (Some(_), _) => Ok("whole".to_owned()),
        (None, true) => Err("neither slot is whole: what it held is lost".to_owned()),
        (None, false) => Ok("none yet".to_owned()),
    }
}

/// Any request would ask for a turn, or give one back; so it is only dialled.
async fn lock_server(url: &Url) -> Result<String, String> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(format!("{url} names no host"));
    };
    // A literal IPv6 address stands in brackets, which a resolver does not take.
    let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(format!("{host}:{port} accepts")),
        Ok(Err(error)) => Err(format!("{host}:{port}: {error}")),
        Err(_) => Err(format!("{host}:{port} does not accept within {CONNECT:?}")),
    }
}

async fn board(settings: &FleetSettings) -> Result<String, String> {
    let fleet = Fleet::new(settings, settings.board.as_ref()).map_err(|error| error_chain(&error))?;
    match timeout(BOARD, fleet.board()).await {
        Ok(Ok(board)) => {
            let refused = board.rulings.values().filter(|ruling| ruling.refused).count();
            Ok(format!("answers for group {}; refused versions {refused}", settings.group))
        }
        Ok(Err(error)) => Err(error_chain(&error)),
        Err(_) => Err(format!("does not answer within {BOARD:?}")),
    }
}

#[cfg(test)]
mod tests;
