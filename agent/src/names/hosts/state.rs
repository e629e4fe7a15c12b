//! How the hosts files are, for status, metrics and `explain`.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::model::{Container, ContainerId, HostsFile};

/// The files that running containers have, by the container that Docker keeps each for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostsState {
    /// How each was left at the last look. One that was not looked at yet is missing.
    pub files: OrdMap<ContainerId, FileState>,
}

/// How one file was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It tells mesh names.
    Told {
        /// How many.
        names: usize,
        /// How many not, since the file's own lines define them.
        own: usize,
        /// How many names there are, where they are too many and it tells only what its containers dial.
        of: Option<usize>,
    },
    /// It tells none, as is wished; why.
    LeftAlone(Arc<str>),
    /// It could not be written, and is tried again; why.
    Failing(Arc<str>),
}

impl HostsState {
    /// How many files tell mesh names.
    #[must_use]
    pub fn written(&self) -> usize {
        self.files.values().filter(|state| matches!(state, FileState::Told { names: 1.., .. })).count()
    }

    /// What a container's `/etc/hosts` tells of the mesh, or why nothing; for people.
    #[must_use]
    pub fn explain(&self, container: &Container) -> String {
        match &container.hosts {
            HostsFile::Docker(owner) => match self.files.get(owner) {
                Some(state) if *owner == container.id => state.to_string(),
                Some(state) => format!("{state}; the file is that of {owner}, whose network it shares"),
                None => "not written yet; until then its names come by DNS".to_owned(),
            },
            HostsFile::Users => {
                "left alone: its /etc/hosts is not the file that Docker keeps, but one of yours; its names come by DNS"
                    .to_owned()
            }
            HostsFile::None => "none: Docker tells of none; its names come by DNS".to_owned(),
        }
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { names, own, of } => {
                write!(f, "tells {names} mesh names")?;
                if *own > 0 {
                    write!(f, ", without {own} that its own lines define")?;
                }
                match of {
                    Some(of) => write!(f, "; of {of} only what label {} names, the others come by DNS", super::DIAL),
                    None => Ok(()),
                }
            }
            Self::LeftAlone(why) => write!(f, "left alone: {why}"),
            Self::Failing(why) => write!(f, "not written: {why}; its names come by DNS"),
        }
    }
}

/// Counts of the hosts files. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct HostsMetrics {
    pub(super) failures: Counter,
}

impl HostsMetrics {
    /// Registers `hosts_file_failures_total`; the registry adds the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Failed attempts to write mesh names into a container's hosts file";
        registry.register("hosts_file_failures", help, self.failures.clone());
    }
}

#[cfg(test)]
mod tests;
