use std::time::Duration;

use proptest::prelude::*;

use super::super::inspect::{Attached, HostsPath};
use super::*;
use crate::model::HostsFile;

const HUP: u8 = 1;

pub(super) fn id(n: u8) -> ContainerId {
    format!("c{n}").into()
}

pub(super) fn seen(n: u8, life: u64) -> Inspected {
    let attached =
        Attached { name: "bridge".into(), network: "n0".into(), address: Some([172, 17, life as u8, n].into()) };
    Inspected {
        id: id(n),
        name: "web".into(),
        image: "web".into(),
        image_id: None,
        baked: Default::default(),
        labels: Arc::default(),
        attachment: Attachment::Networks(vec![attached], Arc::default()),
        hosts: HostsPath { path: format!("/r/containers/c{n}/hosts").into(), ..HostsPath::default() },
        health: DockerHealth::None,
        started_ms: life,
        own_dns: false,
        paused: false,
        stop_signal: Signal::TERM,
    }
}

/// Entries of a list that says nothing but who runs.
fn list(ids: &[u8]) -> Vec<Listed> {
    ids.iter().map(|n| listed(*n)).collect()
}

pub(super) fn listed(n: u8) -> Listed {
    let (names, networks, health) = (Vec::new(), None, None);
    Listed { id: id(n), digest: 0, has_network: false, names, networks, paused: false, health }
}

fn docker0() -> BTreeMap<String, IfName> {
    [("n0".to_owned(), IfName::new("docker0").unwrap())].into()
}

/// Takes the ticket of an inspection.
fn ticket(ask: Option<Ask>) -> u64 {
    match ask {
        Some(Ask::Inspect(_, ticket)) => ticket,
        other => panic!("{other:?}"),
    }
}

/// A state with these containers listed and inspected, and its snapshot taken.
pub(super) fn running(ids: &[u8], now: Instant) -> DockerState {
    let mut state = DockerState::default();
    let Ask::Bridges(bridges) = state.ask_bridges() else { panic!() };
    state.bridges(bridges, docker0(), now);
    for ask in state.listed(list(ids), now) {
        let Ask::Inspect(container, ticket) = ask else { panic!() };
        let n = container[1..].parse().unwrap();
        state.inspected(&container, ticket, Some(seen(n, 1)), now);
    }
    assert!(state.take().is_some());
    state
}

fn kill(n: u8, signal: u8) -> DockerEvent {
    DockerEvent::Killed(id(n), Signal::parse(&signal.to_string()))
}

fn stopping(state: &mut DockerState, n: u8) -> Option<bool> {
    state.changed = true;
    Some(state.take()?.running.get(&id(n))?.stopping)
}

#[test]
fn nothing_is_published_before_everything_is_known() {
    let now = Instant::now();
    let mut state = DockerState::default();
    let Ask::Bridges(bridges) = state.ask_bridges() else { panic!() };
    assert_eq!(state.take(), None);
    let asks = state.listed(list(&[1, 2]), now);
    state.inspected(&id(1), 2, Some(seen(1, 1)), now);
    assert_eq!(asks, [Ask::Inspect(id(1), 2), Ask::Inspect(id(2), 3)]);
    state.bridges(bridges, docker0(), now);
    assert_eq!(state.take(), None);
    // The other cannot be inspected: it is asked for again, and does not hold up the first.
    assert_eq!(state.not_inspected(&id(2), 3, now), Some((Ask::Inspect(id(2), 4), 1)));
    assert_eq!(state.not_inspected(&id(2), 4, now), Some((Ask::Inspect(id(2), 5), 2)));
    let snapshot = state.take().unwrap();
    assert_eq!(snapshot.running.keys().cloned().collect::<Vec<_>>(), [id(1)]);
    assert_eq!(snapshot.unseen.iter().cloned().collect::<Vec<_>>(), [id(2)], "it runs, whatever it is");
    assert_eq!(snapshot.bridges.len(), 1);
    assert_eq!(state.take(), None);
    let mut dies = state;
    dies.inspected(&id(2), 5, Some(seen(2, 1)), now);
    let snapshot = dies.take().unwrap();
    assert!(snapshot.unseen.is_empty() && snapshot.running.len() == 2);
    let asked = ticket(dies.apply(DockerEvent::Started(id(3)), now));
    dies.not_inspected(&id(3), asked, now);
    assert_eq!(dies.take().unwrap().unseen.len(), 1);
    dies.apply(DockerEvent::Gone(id(3)), now);
    assert!(dies.take().unwrap().unseen.is_empty());
}

#[test]
fn an_empty_node_is_a_snapshot_too() {
    assert_eq!(running(&[], Instant::now()).snapshot.running.len(), 0);
}

#[test]
fn a_stop_shows_at_once_and_a_reload_does_not() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    assert_eq!(state.apply(kill(1, HUP), now), None);
    assert_eq!(state.take(), None);
    assert_eq!(state.apply(kill(1, 15), now), None);
    assert!(state.take().unwrap().running[&id(1)].stopping);
    // A reload afterwards changes nothing.
    state.apply(kill(1, HUP), now);
    assert_eq!(stopping(&mut state, 1), Some(true));
}

#[test]
fn only_its_own_stop_signal_and_kill_stop_it() {
    let now = Instant::now();
    for (signal, stops) in [(3, true), (9, true), (15, false), (1, false)] {
        let mut state = running(&[1], now);
        let asked = ticket(state.apply(DockerEvent::Changed(id(1)), now));
        let quit = Inspected { stop_signal: Signal::parse("SIGQUIT").unwrap(), ..seen(1, 1) };
        state.inspected(&id(1), asked, Some(quit), now);
        state.apply(kill(1, signal), now);
        assert_eq!(stopping(&mut state, 1), Some(stops), "{signal}");
    }
}

#[test]
fn a_label_cannot_hide_a_stop() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    let asked = ticket(state.apply(DockerEvent::Changed(id(1)), now));
    let labels = Arc::new([("signal".to_owned(), "1".to_owned())].into());
    state.inspected(&id(1), asked, Some(Inspected { labels, ..seen(1, 1) }), now);
    state.apply(kill(1, HUP), now);
    assert_eq!(stopping(&mut state, 1), Some(true));
}

#[test]
fn a_stop_that_does_not_come_about_is_forgotten() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    state.apply(kill(1, 15), now);
    let due = state.due().unwrap();
    assert_eq!(due, now + STOP_BELIEVED);
    state.expire(due - Duration::from_secs(1));
    assert_eq!(stopping(&mut state, 1), Some(true), "whatever its own stop timeout is");
    // A second try starts the clock again.
    let again = now + Duration::from_secs(15);
    state.apply(kill(1, 9), again);
    state.expire(due);
    assert_eq!(stopping(&mut state, 1), Some(true));
    state.expire(again + STOP_BELIEVED);
    assert_eq!(stopping(&mut state, 1), Some(false));
    assert_eq!(state.due(), None);
}

#[test]
fn a_stop_during_the_inspection_is_not_lost() {
    let now = Instant::now();
    let mut state = running(&[], now);
    let asked = ticket(state.apply(DockerEvent::Started(id(1)), now));
    state.apply(kill(1, 15), now);
    assert_eq!(state.take(), None);
    state.inspected(&id(1), asked, Some(seen(1, 1)), now);
    assert!(state.take().unwrap().running[&id(1)].stopping);
}

#[test]
fn answers_of_an_earlier_life_are_dropped() {
    let now = Instant::now();
    let mut state = running(&[], now);
    let first = ticket(state.apply(DockerEvent::Started(id(1)), now));
    state.apply(DockerEvent::Gone(id(1)), now);
    let second = ticket(state.apply(DockerEvent::Started(id(1)), now));
    assert_eq!(state.inspected(&id(1), first, Some(seen(1, 1)), now), None);
    assert_eq!(state.take(), None);
    state.inspected(&id(1), second, Some(seen(1, 2)), now);
    assert_eq!(state.take().unwrap().running[&id(1)].started_ms, 2);
    // Neither an inspection that found it gone, nor one that failed, counts when it is stale.
    state.inspected(&id(1), first, None, now);
    assert_eq!(state.not_inspected(&id(1), first, now), None);
    assert_eq!(state.take(), None);
}

#[test]
fn a_death_beats_an_answer_under_way() {
    let now = Instant::now();
    let mut state = running(&[], now);
    let asked = ticket(state.apply(DockerEvent::Started(id(1)), now));
    state.apply(DockerEvent::Gone(id(1)), now);
    state.inspected(&id(1), asked, Some(seen(1, 1)), now);
    assert_eq!(state.take(), None);
}

#[test]
fn a_restart_begins_a_new_life() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    for event in [kill(1, 15), DockerEvent::Gone(id(1))] {
        state.apply(event, now);
    }
    assert!(state.take().unwrap().running.is_empty());
    let asked = ticket(state.apply(DockerEvent::Started(id(1)), now));
    state.inspected(&id(1), asked, Some(seen(1, 2)), now);
    let container = state.take().unwrap().running[&id(1)].clone();
    assert_eq!((container.started_ms, container.stopping), (2, false));
}

#[test]
fn what_vanished_while_away_vanishes_with_the_list() {
    let now = Instant::now();
    let mut state = running(&[1, 2], now);
    state.apply(kill(1, 15), now);
    state.take();
    state.ask_bridges();
    let later = now + Duration::from_secs(1);
    let asks = state.listed(list(&[1, 3]), later);
    assert_eq!(state.take().unwrap().running.keys().cloned().collect::<Vec<_>>(), [id(1)]);
    // The same id in another life: the stop was the last one's.
    let Ask::Inspect(_, first) = asks[0].clone() else { panic!() };
    state.inspected(&id(1), first, Some(seen(1, 2)), later);
    assert!(!state.take().unwrap().running[&id(1)].stopping);
}

#[test]
fn a_stop_outlives_a_reconnection() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    state.apply(kill(1, 15), now);
    let later = now + Duration::from_secs(1);
    let Ask::Inspect(_, asked) = state.listed(list(&[1]), later)[0].clone() else { panic!() };
    state.inspected(&id(1), asked, Some(seen(1, 1)), later);
    assert_eq!(stopping(&mut state, 1), Some(true));
}

#[test]
fn health_and_pause_come_by_event_and_survive_a_stale_answer() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    state.apply(DockerEvent::Health(id(1), DockerHealth::Healthy), now);
    assert_eq!(state.take().unwrap().running[&id(1)].health, DockerHealth::Healthy);
    let asked = ticket(state.apply(DockerEvent::Changed(id(1)), now));
    state.apply(DockerEvent::Health(id(1), DockerHealth::Unhealthy), now);
    state.apply(DockerEvent::Paused(id(1), true), now);
    state.inspected(&id(1), asked, Some(Inspected { health: DockerHealth::Healthy, ..seen(1, 1) }), now);
    let container = state.take().unwrap().running[&id(1)].clone();
    assert_eq!((container.health, container.paused), (DockerHealth::Unhealthy, true));
    state.apply(DockerEvent::Paused(id(1), false), now);
    assert!(!state.take().unwrap().running[&id(1)].paused);
}

#[test]
fn a_network_that_becomes_known_gives_its_containers_an_address() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    let Some(Ask::Bridges(old)) = state.apply(DockerEvent::Networks, now) else { panic!() };
    let Some(Ask::Bridges(new)) = state.apply(DockerEvent::Networks, now) else { panic!() };
    state.bridges(new, BTreeMap::new(), now);
    let snapshot = state.take().unwrap();
    assert!(snapshot.bridges.is_empty());
    assert!(matches!(snapshot.running[&id(1)].network, Network::Unsupported(_)));
    state.bridges(old, docker0(), now);
    assert_eq!(state.take(), None);
    let Some(Ask::Bridges(newest)) = state.apply(DockerEvent::Networks, now) else { panic!() };
    state.bridges(newest, docker0(), now);
    assert!(matches!(state.take().unwrap().running[&id(1)].network, Network::Bridge { .. }));
}

#[test]
fn the_ecs_agent_names_the_ports_of_a_host_container() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    let asked = ticket(state.apply(DockerEvent::Changed(id(1)), now));
    let labels = Arc::new([(crate::sources::ecs::LABEL_TASK.to_owned(), "arn".to_owned())].into());
    let host = Inspected { labels, attachment: Attachment::Host([].into()), ..seen(1, 1) };
    let Some(Ask::Ports(_, asked)) = state.inspected(&id(1), asked, Some(host), now) else { panic!() };
    assert!(state.take().is_some());
    let ports: Ports = [("80".parse().unwrap(), crate::model::L4::Tcp)].into();
    state.ports(&id(1), asked, ports.clone(), now);
    assert_eq!(state.take().unwrap().running[&id(1)].network, Network::Host { ports });
}

#[derive(Debug, Clone)]
enum Step {
    Start(u8),
    Die(u8),
    Kill(u8),
    Health(u8),
    Answer(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8).prop_map(Step::Start),
        (0..4u8).prop_map(Step::Die),
        (0..4u8).prop_map(Step::Kill),
        (0..4u8).prop_map(Step::Health),
        (0..8usize).prop_map(Step::Answer),
    ]
}

proptest! {
    /// Whatever order answers come in, once all have come the snapshot is what runs, in its latest life.
    #[test]
    fn events_and_answers_in_any_order_end_in_the_truth(steps in prop::collection::vec(step(), 0..60)) {
        let now = Instant::now();
        let mut state = running(&[], now);
        let mut truth: BTreeMap<u8, (u64, bool)> = BTreeMap::new();
        let mut under_way: Vec<(u8, u64, Option<Inspected>)> = Vec::new();
        let mut life = 1;
        for step in steps {
            match step {
                Step::Start(n) if !truth.contains_key(&n) => {
                    life += 1;
                    truth.insert(n, (life, false));
                    let asked = ticket(state.apply(DockerEvent::Started(id(n)), now));
                    under_way.push((n, asked, Some(seen(n, life))));
                }
                Step::Die(n) if truth.remove(&n).is_some() => {
                    state.apply(DockerEvent::Gone(id(n)), now);
                }
                Step::Kill(n) => {
                    if let Some((_, stopping)) = truth.get_mut(&n) {
                        *stopping = true;
                        state.apply(kill(n, 15), now);
                    }
                }
                Step::Health(n) => {
                    state.apply(DockerEvent::Health(id(n), DockerHealth::Healthy), now);
                }
                Step::Answer(at) if !under_way.is_empty() => {
                    let (n, asked, seen) = under_way.swap_remove(at % under_way.len());
                    state.inspected(&id(n), asked, seen, now);
                }
                _ => {}
            }
        }
        for (n, asked, seen) in under_way {
            state.inspected(&id(n), asked, seen, now);
        }
        let found: BTreeMap<u8, (u64, bool)> = state.snapshot.running.iter()
            .map(|(id, c)| (id[1..].parse().unwrap(), (c.started_ms, c.stopping))).collect();
        prop_assert_eq!(found, truth);
    }
}

#[test]
fn hosts_files_are_known_once_dockers_root_is() {
    let now = Instant::now();
    let mut state = running(&[1], now);
    assert_eq!(state.snapshot.running[&id(1)].hosts, HostsFile::None);
    state.root(Path::new("/elsewhere").into(), now);
    let snapshot = state.take().unwrap();
    assert_eq!(snapshot.root.as_deref(), Some(Path::new("/elsewhere")));
    assert_eq!(snapshot.running[&id(1)].hosts, HostsFile::Users, "not where Docker keeps its own");
    state.root(Path::new("/elsewhere").into(), now);
    assert_eq!(state.take(), None);
}
