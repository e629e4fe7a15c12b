//! Services that are known without endpoints, over a restart too. A service may be offered over both transports: each is
//! known by itself. Pure: time is in seconds by whatever clock the caller counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::vip::service_id;
use crate::model::{Alias, AppProtocol, DesiredService, L4, ServiceId};

/// For how many seconds a service is known after its last endpoint has gone: its names and its VIP stay, and the VIP refuses.
pub(super) const KNOWN_FOR: u64 = 3600;

/// The most services without endpoints that are known; a further one is forgotten at once.
const MAX: usize = 4096;
/// The most services that are remembered over a restart, and the most aliases of all of them.
const MAX_REMEMBERED: usize = 32_768;

/// A service over one transport.
pub(super) type Offered = (ServiceId, L4);

/// Services without endpoints, and since when.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeMap<Offered, u64>);

impl Departed {
    /// Whether a service without endpoints is to be known now; its time begins when this is asked first.
    pub(super) fn keeps(&mut self, service: &Offered, now: u64) -> bool {
        match self.0.get(service) {
            Some(since) => now < *since + KNOWN_FOR,
            None => self.since(service, now),
        }
    }

    /// It has had no endpoint since then. False where there is no room to know it.
    pub(super) fn since(&mut self, service: &Offered, since: u64) -> bool {
        let room = self.0.len() < MAX;
        if room {
            self.0.insert(service.clone(), since);
        }
        room
    }

    /// It has endpoints again, or is forgotten. True where it was known without.
    pub(super) fn remove(&mut self, service: &Offered) -> bool {
        self.0.remove(service).is_some()
    }

    /// Since when a service is known without endpoints, if it is.
    pub(super) fn get(&self, service: &Offered) -> Option<u64> {
        self.0.get(service).copied()
    }

    /// Whether a service is known without endpoints over any transport.
    pub(super) fn contains(&self, service: &ServiceId) -> bool {
        [L4::Tcp, L4::Udp].into_iter().any(|l4| self.0.contains_key(&(service.clone(), l4)))
    }

    /// Services whose time is over.
    pub(super) fn over(&self, now: u64) -> impl Iterator<Item = &ServiceId> {
        self.0.iter().filter(move |(_, since)| now >= **since + KNOWN_FOR).map(|((service, _), _)| service)
    }

    /// When the next one's time is over.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.values().min().map(|since| *since + KNOWN_FOR)
    }
}

/// A known service over one transport, as the next start of the agent is to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownService {
    /// `namespace/discovery-name`.
    service: String,
    /// What it speaks.
    protocol: String,
    /// What clients dial.
    aliases: Vec<String>,
    /// Since when it has had no endpoint, in seconds since the Unix epoch; none where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    departed: Option<u64>,
}

impl KnownService {
    /// Writes a service down.
    pub(super) fn new(service: &ServiceId, described: &DesiredService, departed: Option<u64>) -> Self {
        let aliases = described.aliases.iter().map(ToString::to_string).collect();
        Self { service: service.to_string(), protocol: described.protocol.to_string(), aliases, departed }
    }

    /// Reads it. `None` where it says no service that could be.
    fn read(&self) -> Option<(Offered, Recalled)> {
        let protocol: AppProtocol = self.protocol.parse().ok()?;
        let aliases = self.aliases.iter().map(|alias| alias.parse().ok()).collect::<Option<Vec<Alias>>>()?;
        Some(((service_id(&self.service)?, protocol.l4()), Recalled { protocol, aliases, departed: self.departed }))
    }
}

/// A service that was known when the agent last ran.
#[derive(Debug)]
pub(super) struct Recalled {
    pub(super) protocol: AppProtocol,
    pub(super) aliases: Vec<Alias>,
    pub(super) departed: Option<u64>,
}

/// As many as there is room for, those without endpoints first: the others come back by themselves.
pub(super) fn bounded(mut all: Vec<KnownService>) -> Vec<KnownService> {
    all.sort_by_key(|known| known.departed.is_none());
    let mut aliases = 0;
    let fits = |known: &KnownService| {
        aliases += known.aliases.len();
        aliases <= MAX_REMEMBERED
    };
    all.into_iter().take(MAX_REMEMBERED).take_while(fits).collect()
}

/// What was remembered and is still to be known at this time. A time that has not come yet counts as this one, so a clock
/// that was wrong keeps nothing for longer.
pub(super) fn recalled(all: &[KnownService], now: u64) -> Vec<(Offered, Recalled)> {
    let known = all.iter().take(MAX_REMEMBERED).filter_map(KnownService::read);
    let known = known.map(|(offered, recalled)| {
        (offered, Recalled { departed: recalled.departed.map(|since| since.min(now)), ..recalled })
    });
    known.filter(|(_, recalled)| recalled.departed.is_none_or(|since| now < since + KNOWN_FOR)).collect()
}

#[cfg(test)]
mod tests;
