//! How containers began and ended, in the snapshot.

use super::super::events::{Death, DockerEvent};
use super::{ContainerEntry, ContainerId, DockerState};

impl DockerState {
    /// Takes note of what an event says of how a container began or ended. To be called before [`Self::apply`].
    pub(in super::super) fn note(&mut self, event: &DockerEvent, now_ms: u64) {
        match event {
            DockerEvent::Started(id) => self.history.started(id, now_ms),
            DockerEvent::Starved(id) => self.history.starved(id),
            DockerEvent::Died(id, death) => {
                let entry = self.entries.get(id);
                let stops = |entry: &ContainerEntry| Some(entry.stops_until(entry.inspected.as_ref()?).is_some());
                self.history.died(id, death, entry.and_then(stops).unwrap_or_default(), now_ms);
            }
            DockerEvent::Gone(id) => self.history.removed(id),
            _ => return,
        }
        self.publish_pasts();
    }

    /// Containers that had ended before anybody looked: how, and how many milliseconds ago.
    pub(in super::super) fn ended(&mut self, ended: Vec<(ContainerId, Death, u64)>, now_ms: u64) {
        for (id, death, ago_ms) in ended {
            self.history.found(&id, &death, now_ms.saturating_sub(ago_ms), now_ms);
        }
        self.publish_pasts();
    }

    fn publish_pasts(&mut self) {
        let pasts = self.history.pasts();
        if !pasts.ptr_eq(&self.snapshot.pasts) {
            self.snapshot.pasts = pasts.clone();
            self.changed = true;
        }
    }
}
