use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{DockerHealth, Network};

const WALL: u64 = 1_800_000_000;

fn container(stopping: bool, started_ms: u64) -> Container {
    Container {
        id: "c".into(),
        name: "web".into(),
        image: "web".into(),
        labels: Arc::default(),
        network: Network::Unsupported("".into()),
        health: DockerHealth::None,
        started_ms,
        stopping,
        paused: false,
        addresses: Default::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        hosts: crate::model::HostsFile::None,
    }
}

#[test]
fn a_stop_that_began_is_remembered_until_it_is_over_or_the_container_begins_anew() {
    let mut stops = Stops::default();
    assert!(!stops.follow(&container(false, 1), WALL));
    assert!(stops.follow(&container(true, 1), WALL));
    assert!(!stops.follow(&container(true, 1), WALL + 5), "no news");
    assert_eq!(stops.begun()["c"], Begun { started_ms: 1, since: WALL });
    assert!(stops.follow(&container(true, 2), WALL + 9), "another life's");
    assert_eq!(stops.begun()["c"], Begun { started_ms: 2, since: WALL + 9 });
    assert!(stops.follow(&container(false, 2), WALL));
    assert!(stops.begun().is_empty());
}

#[test]
fn one_that_only_the_last_start_saw_is_believed_in_as_long_as_any() {
    let now = Instant::now();
    let begun = HashMap::from([("c".into(), Begun { started_ms: 1, since: WALL })]);
    let at = |wall| Stops::recalled(begun.clone(), wall, now);
    let mut stops = at(WALL + 10);
    assert!(!stops.follow(&container(false, 1), WALL + 10) && stops.is_recalled(&container(false, 1)));
    let end = now + STOP_BELIEVED - Duration::from_secs(10);
    assert_eq!(stops.due(), Some(end));
    assert!(stops.expired(end - Duration::from_millis(1)).is_empty());
    assert_eq!(stops.expired(end), [ContainerId::from("c")]);
    assert!(!stops.is_recalled(&container(false, 1)) && stops.due().is_none());
    // Too long ago; by a clock that was put back; and of another life.
    assert!(at(WALL + STOP_BELIEVED.as_secs() + 1).begun().is_empty());
    assert_eq!(at(WALL - 1000).due(), Some(now + STOP_BELIEVED));
    let mut stops = at(WALL);
    assert!(!stops.is_recalled(&container(false, 2)) && stops.follow(&container(false, 2), WALL));
    assert!(stops.begun().is_empty());
    // Once Docker's source sees a stop itself, it says when that is over.
    let mut stops = at(WALL);
    stops.follow(&container(true, 1), WALL);
    assert!(stops.due().is_none() && stops.follow(&container(false, 1), WALL));
}
