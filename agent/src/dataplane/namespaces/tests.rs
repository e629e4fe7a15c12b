use std::path::Path;

use super::*;
use crate::dataplane::Metrics;

/// A data plane with one owner, the second of its namespace, that does this.
fn with_owner(work: impl FnOnce() + Send + 'static) -> (Dataplane, Farewell) {
    let netns = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
    let (id, birth) = (netns.id(), 2);
    let ended = mpsc::unbounded_channel();
    let farewell = SaysFarewell(Farewell { id, birth, why: None }, ended.0.clone());
    let thread = netns.spawn("owner", move || {
        let _farewell = farewell;
        work();
    });
    let running = Running { birth, leases: mpsc::channel(1).0, thread: thread.unwrap() };
    let dataplane = Dataplane {
        config: DataplaneConfig { vip_ranges: VipRanges::default(), capture: false, metrics: Metrics::default() },
        rulesets: watch::channel(None).1,
        namespaces: watch::channel(Namespaces::new()).1,
        leases: mpsc::channel(1).1,
        state: watch::Sender::default(),
        owners: BTreeMap::from([(id, running)]),
        ended,
        births: birth,
    };
    (dataplane, Farewell { id, birth, why: None })
}

#[tokio::test]
async fn the_part_ends_with_an_owner_that_panics() {
    let (dataplane, _) = with_owner(|| panic!("on purpose"));
    let run = dataplane.run(CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(60), run).await.unwrap();
}

#[tokio::test]
async fn the_word_of_a_former_owner_does_not_end_the_next() {
    let (goes_on, ends) = std::sync::mpsc::channel::<()>();
    let (mut dataplane, farewell) = with_owner(move || {
        let _ = ends.recv();
    });
    assert!(dataplane.bury(Farewell { birth: 1, ..farewell }).await.is_continue());
    assert_eq!(dataplane.owners.len(), 1);
    drop(goes_on);
    assert!(dataplane.bury(farewell).await.is_break());
    assert!(dataplane.owners.is_empty());
}

#[tokio::test]
async fn an_owner_whose_namespace_is_gone_ends_alone() {
    let (mut dataplane, farewell) = with_owner(|| ());
    assert!(dataplane.bury(Farewell { why: Some(Ended::NamespaceGone), ..farewell }).await.is_continue());
    assert!(dataplane.owners.is_empty());
}
