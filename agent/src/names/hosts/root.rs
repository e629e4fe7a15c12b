//! Where Docker's root is, as seen from here.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Auto;

/// Files as process 1 of the host sees them. A host container has the host's processes, and mounts of its own.
const OF_HOST: &str = "/proc/1/root";
/// Whose mounts are whose.
const MOUNTS_OF_HOST: &str = "/proc/1/ns/mnt";
const OWN_MOUNTS: &str = "/proc/self/ns/mnt";

/// Docker's root as seen from here, by the configuration and by what Docker says of itself. `None` until it has.
#[must_use]
pub fn seen(configured: &Auto<PathBuf>, docker: Option<&Path>) -> Option<PathBuf> {
    match configured {
        Auto::Set(path) => Some(path.clone()),
        Auto::Auto => docker.map(|docker| through(docker, foreign_mounts(MOUNTS_OF_HOST, OWN_MOUNTS))),
    }
}

/// A path of the host, through its process 1 where our mounts are not its.
fn through(path: &Path, foreign: bool) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(relative) if foreign => Path::new(OF_HOST).join(relative),
        _ => path.to_owned(),
    }
}

/// Whether two mount namespaces are known to differ.
fn foreign_mounts(host: &str, own: &str) -> bool {
    let namespace = |path: &str| metadata(path).map(|found| (found.dev(), found.ino())).ok();
    matches!((namespace(host), namespace(own)), (Some(host), Some(own)) if host != own)
}

#[cfg(test)]
mod tests;
