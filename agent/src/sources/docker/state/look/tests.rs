use std::sync::Arc;

use super::super::super::events::DockerEvent;
use super::super::super::inspect::{Attached, Attachment};
use super::super::tests::{id, listed, running, seen};
use super::*;
use crate::model::DockerHealth;

/// An entry of a list that agrees with what was inspected.
fn entry(n: u8, digest: u64) -> Listed {
    let Attachment::Networks(networks, _) = seen(n, 1).attachment else { panic!() };
    Listed { digest, has_network: true, networks: Some(networks), ..listed(n) }
}

fn looked(state: &mut DockerState, list: Vec<Listed>, now: Instant) -> Vec<String> {
    state.begin_look();
    let asks = state.looked(list, now);
    asks.iter().map(|ask| if let Ask::Inspect(id, _) = ask { id.to_string() } else { panic!() }).collect()
}

#[test]
fn what_events_told_of_is_compared_anew() {
    let now = Instant::now();
    let mut state = running(&[1, 2], now);
    assert_eq!(looked(&mut state, vec![entry(1, 7), entry(2, 7)], now), ["c1", "c2"], "the first list said 0");
    for n in [1, 2] {
        let ticket = state.entries[&id(n)].ticket;
        state.inspected(&id(n), ticket, Some(seen(n, 1)), now);
    }
    assert_eq!(looked(&mut state, vec![entry(1, 7), entry(2, 7)], now), [""; 0]);
    // An event explains another digest, but not that the list says otherwise than the event.
    state.apply(DockerEvent::Paused(id(1), true), now);
    state.apply(DockerEvent::Health(id(2), DockerHealth::Unhealthy), now);
    let paused = Listed { paused: true, ..entry(1, 8) };
    let healthy = Listed { health: Some(DockerHealth::Healthy), ..entry(2, 8) };
    assert_eq!(looked(&mut state, vec![paused, healthy], now), ["c2"]);
}

#[test]
fn whoever_events_are_about_meanwhile_is_left_to_the_next_look() {
    let now = Instant::now();
    let mut state = running(&[1, 2], now);
    state.begin_look();
    state.apply(DockerEvent::Started(id(3)), now);
    state.apply(DockerEvent::Gone(id(2)), now);
    // The list is from before both.
    assert_eq!(state.looked(vec![listed(1), listed(2)], now), []);
    assert_eq!(state.drifted(now + IN_FLIGHT), []);
    assert_eq!(state.looked(vec![], now), [], "a list that nobody asked for");
}

#[test]
fn a_difference_that_is_explained_in_time_is_none() {
    let now = Instant::now();
    let mut state = running(&[1, 2, 3], now);
    let moved = Attached { name: "app".into(), network: "n9".into(), address: None };
    let other = Listed { networks: Some(vec![moved]), ..listed(3) };
    assert_eq!(looked(&mut state, vec![listed(1), other, listed(4)], now), ["c2", "c3", "c4"]);
    assert_eq!(state.due(), Some(now + IN_FLIGHT));
    state.apply(DockerEvent::Changed(id(3)), now);
    assert_eq!(state.drifted(now), []);
    let found = state.drifted(now + IN_FLIGHT);
    let drift = |n, kind| Drift { id: id(n), kind };
    assert_eq!(found, [drift(2, DriftKind::Gone), drift(4, DriftKind::New)]);
    assert_eq!(state.drifted(now + IN_FLIGHT), []);
    assert_eq!(state.due(), None);
}

#[test]
fn whoever_is_being_inspected_is_left_alone() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    state.apply(DockerEvent::Changed(id(1)), now);
    assert_eq!(looked(&mut state, vec![], now), [""; 0]);
    assert_eq!(looked(&mut state, vec![entry(1, 99)], now), [""; 0]);
    let ticket = state.entries[&id(1)].ticket;
    state.inspected(&id(1), ticket, Some(seen(1, 1)), now);
    assert_eq!(looked(&mut state, vec![], now), ["c1"]);
    state.inspected(&id(1), ticket + 1, None, now);
    assert!(state.take().unwrap().running.is_empty());
}

#[test]
fn the_budgets_excess_is_in_the_snapshot_and_told_once() {
    let now = Instant::now();
    let mut state = running(&[], now);
    let labels: std::collections::BTreeMap<_, _> = (0..32)
        .flat_map(|n| {
            let aliases: Vec<_> = (0..16).map(|port| format!("s{n}:{}", port + 1)).collect();
            [(format!("meshdog.s{n}.port"), "80".to_owned()), (format!("meshdog.s{n}.alias"), aliases.join(","))]
        })
        .collect();
    let labels = Arc::new(labels);
    for n in 0..20 {
        let Some(Ask::Inspect(id, ticket)) = state.apply(DockerEvent::Started(id(n)), now) else { panic!() };
        let mut inspected = seen(n, u64::from(100 - n));
        inspected.labels = labels.clone();
        state.inspected(&id, ticket, Some(inspected), now);
    }
    let snapshot = state.take().unwrap();
    let admitted = |n| snapshot.running[&id(n)].admitted;
    assert!((4..20).all(|n| admitted(n) == 32) && (0..4).all(|n| admitted(n) == 0), "who started first");
    assert_eq!((snapshot.budget.names, snapshot.budget.refused), (8192, 128));
    assert_eq!(state.refused().len(), 4);
    state.apply(DockerEvent::Gone(id(10)), now);
    let snapshot = state.take().unwrap();
    assert_eq!(snapshot.running[&id(3)].admitted, 32);
    assert_eq!((snapshot.budget.refused, state.refused().len()), (96, 0));
}
