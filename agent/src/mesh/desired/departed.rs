//! Services that have no endpoint any more, and what a young agent knows of them.

use std::sync::Arc;

use super::Mesh;
use crate::mesh::known;
use crate::model::endpoint::of_service;
use crate::model::{DesiredService, ServiceId};

impl Mesh {
    /// With the first snapshot: brings back the services that were known before the agent restarted and have no endpoint
    /// now. Gives those.
    pub(super) fn recall(&mut self) -> Vec<ServiceId> {
        let now = self.snapshot.now;
        let mut back = Vec::new();
        for (key, recalled) in known::recalled(&std::mem::take(&mut self.known), now) {
            let of_catalog = of_service(&self.snapshot.catalog, &key.0);
            let is_there = of_catalog.filter(|endpoint| endpoint.protocol.l4() == key.1).count() > 0;
            let Some(vips) = self.vips.of(&key.0).filter(|_| !is_there) else { continue };
            if !self.settings.dialled().any(|namespace| *namespace == key.0.namespace)
                || !self.departed.since(&key, recalled.departed.unwrap_or(now))
            {
                continue;
            }
            self.vips.stay(&key.0);
            let service = DesiredService {
                vips: Some(vips),
                protocol: recalled.protocol,
                aliases: recalled.aliases,
                endpoints: Vec::new(),
                slots: 0,
                why: None,
            };
            back.push(key.0.clone());
            self.desired.services.insert(key, Arc::new(service));
        }
        back
    }
}

/// A known service after its last endpoint over this transport has gone: its names stay, unless others claim them, and
/// its VIP refuses.
pub(super) fn without_endpoints(before: &DesiredService) -> DesiredService {
    let why = Some("it has no endpoint any more: its VIP refuses".into());
    DesiredService { endpoints: Vec::new(), slots: 0, why, ..before.clone() }
}

#[cfg(test)]
mod tests;
