//! Where log lines go. Never to stderr: a Bottlerocket host copies that to the serial console.
//!
//! To people on a terminal, else to journald with every field, else as JSON lines on stdout (which the host's
//! journal takes as plain text).

use std::io::IsTerminal;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::{fs, io};

use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

/// Where journald's native socket is looked for (systemd's own path; the client library knows no other).
const JOURNAL: &str = "/run/systemd/journal";
/// Where a superpowered host container finds the host's.
const HOST_JOURNAL: &str = "/.bottlerocket/rootfs/run/systemd/journal";

/// Sets up logging for the whole process; to be called once, before any task starts.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(filter: &Targets) -> Result<(), TryInitError> {
    let terminal = io::stdout().is_terminal();
    let linked = if terminal { Ok(false) } else { link_journal(Path::new(JOURNAL), Path::new(HOST_JOURNAL)) };
    let journal = if terminal { None } else { tracing_journald::layer().ok() };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match journal {
        Some(journal) => {
            journal.with_syslog_identifier("meshdog".to_owned()).with_field_prefix(Some("MESHDOG".to_owned())).boxed()
        }
        None if terminal => for_people(io::stdout).boxed(),
        None => fmt::layer().with_writer(io::stdout).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter.clone()).try_init()?;
    if let Err(error) = linked {
        tracing::warn!(%error, "cannot link to the host's journal; logging to stdout");
    }
    Ok(())
}

/// Lines for people. Control characters are escaped: values may quote labels, and these must not move the cursor.
fn for_people<W>(writer: W) -> impl Layer<Registry> + Send + Sync
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let fields = fmt::format::debug_fn(|out, field, value| {
        let text: String = format!("{value:?}")
            .chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
            .collect();
        if field.name() == "message" { write!(out, "{text}") } else { write!(out, "{field}={text}") }
    });
    fmt::layer().with_writer(writer).compact().fmt_fields(fields.delimited(" "))
}

/// Makes the host's journal sockets appear where the client library looks. True when a link was made; nothing is
/// done where there is a journal already, or no host journal to link to.
fn link_journal(journal: &Path, host: &Path) -> io::Result<bool> {
    if fs::symlink_metadata(journal).is_ok() || !host.join("socket").exists() {
        return Ok(false);
    }
    if let Some(parent) = journal.parent() {
        fs::create_dir_all(parent)?;
    }
    symlink(host, journal).map(|()| true)
}

#[cfg(test)]
mod tests;
