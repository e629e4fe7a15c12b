//! One owner for each namespace, for as long as the namespace is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Type};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::netns::{Netns as Sandbox, PATIENCE, until};
use super::node::block_on;
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::behaviour::paths;
use crate::dataplane::netns::{Netns, NetnsError};
use crate::dataplane::{DataplaneConfig, DataplaneState, Metrics, Namespaces, start};
use crate::model::{L4, View};

/// More than a node has tasks.
const MANY: usize = 200;

fn open(sandbox: &Sandbox) -> Netns {
    Netns::open(Path::new(&sandbox.path())).unwrap()
}

async fn comes(state: &mut watch::Receiver<DataplaneState>, is: impl FnMut(&DataplaneState) -> bool) {
    let waited = tokio::time::timeout(PATIENCE, state.wait_for(is)).await.map(|state| drop(state.unwrap()));
    waited.unwrap_or_else(|_| panic!("{:?}", state.borrow()));
}

/// What is left of an owner in its namespace: threads, open files of the namespace, netlink sockets.
fn left(sandbox: &Sandbox) -> (usize, usize, usize) {
    let id = open(sandbox).id().to_string();
    let leads_there = |path: std::path::PathBuf| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy() == id);
    let all = |directory: &str| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let threads = all("/proc/self/task").filter(|task| leads_there(task.join("ns/net"))).count();
    let files = all("/proc/self/fd").filter(|file| leads_there(file.clone())).count();
    let sockets = sandbox.run(|| std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap().lines().count());
    (threads, files, sockets)
}

#[test]
fn two_hundred_namespaces_come_and_go_and_leave_nothing() {
    let sandboxes: Vec<Sandbox> = (0..MANY).map(|_| Sandbox::new()).collect();
    let before: Vec<_> = sandboxes.iter().map(left).collect();
    block_on(async {
        let all: Namespaces = sandboxes.iter().map(open).map(|netns| (netns.id(), (netns, View::Elsewhere))).collect();
        assert_eq!(all.len(), MANY, "each is another");
        let (namespaces, namespaces_in) = watch::channel(Namespaces::new());
        let wanted = Arc::new(ruleset([(frontend(1, L4::Tcp, 80), slots(&[([10, 0, 0, 1].into(), 80)]))]));
        let (_rulesets, rulesets_in) = watch::channel(Some([(View::Elsewhere, Arc::clone(&wanted))].into()));
        let config = DataplaneConfig { vip_ranges: ranges().only_v4(), capture: false, metrics: Metrics::default() };
        let (part, handle) = start(config, rulesets_in, namespaces_in).await.unwrap();
        let stop = CancellationToken::new();
        let part = tokio::spawn(part.run(stop.clone()));
        let mut state = handle.state();
        for _ in 0..2 {
            namespaces.send_replace(all.clone());
            comes(&mut state, |state| state.namespaces.len() == MANY && state.in_sync()).await;
            let applied = state.borrow().applied(View::Elsewhere).cloned();
            assert!(Arc::ptr_eq(&applied.unwrap(), &wanted), "all hold one and the same ruleset");
            namespaces.send_replace(Namespaces::new());
            comes(&mut state, |state| state.namespaces.is_empty()).await;
        }
        stop.cancel();
        part.await.unwrap();
    });
    // The kernel lets go of threads and sockets a little after their ends are known.
    for (sandbox, before) in sandboxes.iter().zip(before) {
        until("nothing is left", || left(sandbox) == before);
    }
}

#[test]
fn an_owner_ends_with_its_namespace_and_the_others_go_on() {
    let (stays, goes) = (Sandbox::new(), Sandbox::new());
    block_on(async {
        let (namespaces, namespaces_in) = watch::channel(Namespaces::new());
        let (rulesets, rulesets_in) = watch::channel(None);
        let config = DataplaneConfig { vip_ranges: ranges(), capture: true, metrics: Metrics::default() };
        let (part, handle) = start(config, rulesets_in, namespaces_in).await.unwrap();
        let stop = CancellationToken::new();
        let part = tokio::spawn(part.run(stop.clone()));
        let mut state = handle.state();
        let (kept, gone) = (open(&stays), open(&goes));
        let (kept_id, gone_id) = (kept.id(), gone.id());
        namespaces.send_replace(BTreeMap::from([
            (kept_id, (kept.clone(), View::Node)),
            (gone_id, (gone.clone(), View::Elsewhere)),
        ]));
        rulesets.send_replace(Some([View::Node, View::Elsewhere].map(|view| (view, Arc::new(ruleset([])))).into()));
        comes(&mut state, |state| state.namespaces.len() == 2 && state.in_sync()).await;
        handle.renew_leases(paths()).await.unwrap();

        drop(goes);
        // The kernel takes a thread's name away a little after it has ended.
        until("the namespace has gone", || !gone.is_there());
        assert!(kept.is_there());
        namespaces.send_replace(BTreeMap::from([(kept_id, (kept, View::Node))]));
        comes(&mut state, |state| state.namespaces.len() == 1).await;
        handle.renew_leases(paths()).await.unwrap();
        let next = Arc::new(ruleset([(frontend(1, L4::Tcp, 80), slots(&[([10, 0, 0, 1].into(), 80)]))]));
        rulesets.send_replace(Some([(View::Node, Arc::clone(&next))].into()));
        comes(&mut state, |state| state.applied(View::Node).is_some_and(|applied| Arc::ptr_eq(applied, &next))).await;
        stop.cancel();
        part.await.unwrap();
    });
    assert_ne!(stays.sh("nft list table ip meshdog").matches("240.240.0.3").count(), 0, "what was programmed stays");
}

#[test]
fn the_part_ends_when_the_last_namespace_goes_and_no_other_can_come() {
    let sandbox = Sandbox::new();
    let netns = open(&sandbox);
    block_on(async {
        let (namespaces, namespaces_in) = watch::channel(BTreeMap::from([(netns.id(), (netns, View::Node))]));
        let (_rulesets, rulesets_in) = watch::channel(Some([(View::Node, Arc::new(ruleset([])))].into()));
        let config = DataplaneConfig { vip_ranges: ranges(), capture: true, metrics: Metrics::default() };
        let (part, handle) = start(config, rulesets_in, namespaces_in).await.unwrap();
        let part = tokio::spawn(part.run(CancellationToken::new()));
        comes(&mut handle.state(), |state| state.in_sync()).await;
        namespaces.send_replace(Namespaces::new());
        assert!(!part.is_finished(), "another may come");
        drop(namespaces);
        tokio::time::timeout(PATIENCE, part).await.unwrap().unwrap();
        assert!(handle.renew_leases(paths()).await.is_err(), "nobody says that queries are captured");
    });
}

#[test]
fn a_namespace_that_cannot_be_entered_hurts_nobody_else() {
    let stays = Sandbox::new();
    let netns = open(&stays);
    let nowhere = Netns::open(Path::new("/proc/self/ns/uts"));
    block_on(async {
        let (namespaces, namespaces_in) = watch::channel(Namespaces::new());
        let (_rulesets, rulesets_in) = watch::channel(Some([(View::Node, Arc::new(ruleset([])))].into()));
        let config = DataplaneConfig { vip_ranges: ranges(), capture: true, metrics: Metrics::default() };
        let (part, handle) = start(config, rulesets_in, namespaces_in).await.unwrap();
        let stop = CancellationToken::new();
        let part = tokio::spawn(part.run(stop.clone()));
        // A namespace of another kind: a file of the same file system, which setns refuses.
        let other = nowhere.unwrap();
        namespaces.send_replace(BTreeMap::from([(other.id(), (other, View::Node)), (netns.id(), (netns, View::Node))]));
        comes(&mut handle.state(), |state| state.namespaces.len() == 1 && state.in_sync()).await;
        stop.cancel();
        part.await.unwrap();
    });
}

#[test]
fn a_namespace_is_known_by_its_inode_however_it_was_opened() {
    let sandbox = Sandbox::new();
    let (one, other) = (open(&sandbox), open(&sandbox));
    assert_eq!(one.id(), other.id());
    assert_ne!(one.id(), Netns::open(Path::new("/proc/self/ns/net")).unwrap().id());
    assert_eq!(one.run(|| Netns::current().unwrap().id()).unwrap(), one.id());
    assert_eq!(
        Netns::of_process(std::process::id()).unwrap().id(),
        Netns::open(Path::new("/proc/self/ns/net")).unwrap().id()
    );
    assert!(matches!(Netns::open(Path::new("/proc/self/status")), Err(NetnsError::NoNamespace(_))));
    assert!(matches!(Netns::open(Path::new("/proc/0/ns/net")), Err(NetnsError::Open { .. })));
}

#[test]
fn a_socket_belongs_to_the_namespace_that_it_was_made_in() {
    let sandbox = Sandbox::new();
    sandbox.sh("ip addr add 10.66.0.1/32 dev lo");
    let address: std::net::SocketAddr = "10.66.0.1:53".parse().unwrap();
    let socket = open(&sandbox).socket(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(&address.into()).unwrap();
    assert!(std::net::UdpSocket::bind(address).is_err(), "nobody has that address here");
}
