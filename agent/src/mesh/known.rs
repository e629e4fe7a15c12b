//! Services that are known without endpoints. Pure: time is in seconds by whatever clock the caller counts.

use std::collections::BTreeMap;

use crate::model::ServiceId;

/// For how many seconds a service is known after its last endpoint has gone: its names and its VIP stay, and the VIP refuses.
pub(super) const KNOWN_FOR: u64 = 3600;

/// The most services without endpoints that are known; a further one is forgotten at once.
const MAX: usize = 4096;

/// Services without endpoints, and since when.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<ServiceId, u64>);

impl Departed {
    /// Whether a service without endpoints is to be known now; its time begins when this is asked first.
    pub(super) fn keeps(&mut self, service: &ServiceId, now: u64) -> bool {
        match self.0.get(service) {
            Some(since) => now < *since + KNOWN_FOR,
            None if self.0.len() >= MAX => false,
            None => {
                self.0.insert(service.clone(), now);
                true
            }
        }
    }

    /// It has endpoints again, or is forgotten.
    pub(super) fn remove(&mut self, service: &ServiceId) {
        self.0.remove(service);
    }

    /// Whether a service is known without endpoints.
    pub(super) fn contains(&self, service: &ServiceId) -> bool {
        self.0.contains_key(service)
    }

    /// Services whose time is over.
    pub(super) fn over(&self, now: u64) -> impl Iterator<Item = &ServiceId> {
        self.0.iter().filter(move |(_, since)| now >= **since + KNOWN_FOR).map(|(service, _)| service)
    }

    /// When the next one's time is over.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.values().min().map(|since| *since + KNOWN_FOR)
    }
}

#[cfg(test)]
mod tests;
