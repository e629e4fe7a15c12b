use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::netns::until;
use super::node::{Node, OUTSIDE, Plane, address, block_on, dial, dial_here, serve};
use super::{frontend, ranges, ruleset, slots};
use crate::dataplane::uninstall;
use crate::model::L4;

fn served() -> (Node, crate::model::Ruleset) {
    let node = Node::new(false);
    serve(&node.outside, "outside", 8080);
    let ruleset = ruleset([(frontend(1, L4::Tcp, 80), slots(&[(OUTSIDE, 8080)]))]);
    (node, ruleset)
}

/// A container that dials the service again and again, and fails where one dial does.
struct Dialler {
    stop: Arc<AtomicBool>,
    dials: Arc<AtomicUsize>,
    done: Receiver<()>,
}

impl Dialler {
    fn start(node: &Node) -> Self {
        let (stop, dials) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let done = node.container(0).start({
            let (stop, dials) = (Arc::clone(&stop), Arc::clone(&dials));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(dial_here(frontend(1, L4::Tcp, 80)).unwrap().name, "outside");
                    dials.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, dials, done }
    }

    /// Waits until it has dialled so many times more.
    fn dials(&self, more: usize) {
        let before = self.dials.load(Ordering::Relaxed);
        until("the service is dialled", || self.dials.load(Ordering::Relaxed) >= before + more);
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.done.recv().expect("every dial was answered");
    }
}

#[test]
fn the_next_agent_takes_over_without_a_gap() {
    let (node, ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset.clone());
    let handle = || node.host.sh("nft -a list tables");
    let before = handle();
    let dialler = Dialler::start(&node);
    dialler.dials(10);
    drop(plane);
    dialler.dials(10);
    let next = Plane::start(&node.host);
    assert_eq!(**next.state().applied.as_ref().unwrap(), ruleset);
    assert!(!next.state().in_sync, "nothing is desired yet");
    next.apply(ruleset.clone());
    assert_eq!(next.state().applies, 0, "there was nothing to do");
    let mut more = ruleset;
    more.frontends.insert(frontend(2, L4::Udp, 80), slots(&[(address(1), 9)]));
    next.apply(more);
    assert_eq!(handle(), before, "the same table");
    dialler.dials(10);
    dialler.stop();
    next.settle(&node.host);
    assert_eq!(next.state().repairs, 0, "its own changes are no news");
}

#[test]
fn a_table_that_is_not_whole_is_written_anew() {
    let tampering = [
        "nft delete element ip meshdog slots '{ 240.240.0.3 . tcp . 80 . 0 }'",
        "nft add element ip meshdog hairpin '{ 1.2.3.4 . 5.6.7.8 }'",
        "nft flush chain ip meshdog refuse",
        "nft add rule ip meshdog output counter",
        "nft flush chain ip meshdog postrouting; nft delete chain ip meshdog postrouting",
        "nft delete table ip meshdog; nft add table ip meshdog",
    ];
    for tampering in tampering {
        let (node, ruleset) = served();
        let plane = Plane::start(&node.host);
        plane.apply(ruleset.clone());
        drop(plane);
        node.host.sh(tampering);
        let next = Plane::start(&node.host);
        assert!(next.state().applied.is_none(), "{tampering}");
        next.apply(ruleset);
        assert_eq!(dial(node.container(0), frontend(1, L4::Tcp, 80)).unwrap().name, "outside", "{tampering}");
        assert!(dial(node.container(0), frontend(2, L4::Tcp, 80)).is_err());
    }
}

#[test]
fn foreign_changes_are_undone() {
    let (node, ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset);
    plane.capture();
    let listing = || {
        let text = node.host.sh("nft list table ip meshdog");
        text.lines().filter(|line| !line.contains("expires")).map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = listing();
    let changes = [
        "nft flush ruleset",
        "nft delete table ip meshdog",
        "nft flush map ip meshdog slots",
        "nft flush chain ip meshdog output",
        "nft add element ip meshdog uncaptured '{ 9.9.9.9 }'",
    ];
    for (repairs, change) in (1..).zip(changes) {
        node.host.sh(change);
        plane.wait(|state| state.repairs >= repairs && state.in_sync);
        assert_eq!(listing(), whole, "{change}");
        assert_eq!(dial(node.container(0), frontend(1, L4::Tcp, 80)).unwrap().name, "outside");
    }
    let leases = node.host.sh("nft list set ip meshdog alive | grep -c expires || true");
    assert_ne!(leases.trim(), "0", "the rest of the lease was written too");
    node.host.sh("nft add table ip others; nft add chain ip others c; nft delete table ip others");
    plane.settle(&node.host);
    assert_eq!(plane.state().repairs, 5, "others' tables are theirs");
}

#[test]
fn a_storm_of_foreign_changes_is_not_answered_one_by_one() {
    let (node, ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset);
    let over = Arc::new(AtomicBool::new(false));
    let dials = node.container(0).start({
        let over = Arc::clone(&over);
        move || {
            let (mut dials, mut refused) = (0, 0);
            while dials < 100 || !over.load(Ordering::Relaxed) {
                match dial_here(frontend(1, L4::Tcp, 80)) {
                    Ok(answer) => assert_eq!(answer.name, "outside"),
                    Err(error) => {
                        assert_eq!(error, std::io::ErrorKind::ConnectionRefused);
                        refused += 1;
                    }
                }
                dials += 1;
            }
            refused
        }
    });
    let begun = Instant::now();
    let element = "element ip meshdog uncaptured '{ 9.9.9.9 }'";
    for _ in 0..100 {
        node.host.sh(&format!("nft add {element}; nft delete {element} || true"));
    }
    plane.wait(|state| state.in_sync && state.repairs > 1);
    over.store(true, Ordering::Relaxed);
    let refused = dials.recv().expect("no dial failed otherwise");
    let applies = plane.state().applies;
    // A packet between two look-ups, when the kernel goes over from the old table to the new, finds nobody.
    assert!(refused <= applies, "{refused} dials were refused by {applies} rewrites");
    // Pauses double from 5 ms to 1 s, and begin anew after 10 s of calm: the slower the machine, the longer the storm.
    let bound = 11 + begun.elapsed().as_secs();
    assert!((3..=bound).contains(&applies), "{applies} rewrites, where {bound} had time");
}

#[test]
fn one_change_is_one_write() {
    let (node, mut ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset.clone());
    let first = plane.state().applies;
    for change in 1..=50_u16 {
        ruleset.frontends.insert(frontend(1, L4::Tcp, 80), slots(&[(OUTSIDE, 8080), (OUTSIDE, 9000 + change)]));
        plane.apply(ruleset.clone());
        assert_eq!(plane.state().applies, first + u64::from(change));
    }
    plane.settle(&node.host);
    let state = plane.state();
    assert_eq!((state.applies, state.repairs, state.failures), (first + 50, 0, 0));
}

#[test]
fn no_connection_falls_between_two_rulesets() {
    let (node, mut ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset.clone());
    let dialler = Dialler::start(&node);
    for count in (1..=70).cycle().step_by(13).take(70) {
        let endpoints: Vec<_> = (0..count).map(|last| ([10, 80, count, last].into(), 8080)).collect();
        ruleset.frontends.insert(frontend(1, L4::Tcp, 80), slots(&endpoints));
        plane.apply(ruleset.clone());
        dialler.dials(1);
    }
    dialler.stop();
    let state = plane.state();
    assert!(state.applies > 50 && state.failures == 0, "{state:?}");
}

#[test]
fn uninstall_leaves_nothing() {
    let (node, ruleset) = served();
    let plane = Plane::start(&node.host);
    plane.apply(ruleset);
    drop(plane);
    for _ in 0..2 {
        node.host.run(|| block_on(uninstall(ranges()))).unwrap();
        assert_eq!(node.host.sh("nft list tables"), "table ip docker\n");
        assert!(!node.host.sh("ip addr show lo").contains("198.19"));
    }
}
