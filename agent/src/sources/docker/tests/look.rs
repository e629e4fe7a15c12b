//! What the minute's look at Docker's list finds, and what events about networks tell.

use super::*;

/// More than the time from one look to the next.
const A_LOOK: Duration = Duration::from_secs(67);
/// More than the time until what a look found is judged.
const A_VERDICT: Duration = Duration::from_secs(3);

/// A Docker that runs these, watched, on a clock that stands still.
async fn watched(ids: &[u8]) -> (Dockerd, Watch, FrozenClock) {
    let mut dockerd = Dockerd::new().holding(ids);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(ids).await;
    watch.until_source("up").await;
    (dockerd, watch, FrozenClock::new())
}

impl Dockerd {
    fn inspections(&self, n: u8) -> usize {
        self.world().inspections.get(&name(n)).copied().unwrap_or_default()
    }

    fn change(&self, n: u8, change: impl FnOnce(&mut Value)) {
        change(self.world().containers.get_mut(&name(n)).unwrap());
    }

    fn network_event(&self, action: &str, attributes: Value) {
        let line = json!({"Type": "network", "Action": action, "Actor": {"ID": "n1", "Attributes": attributes}});
        let line = format!("{line}\n");
        self.world().subscribers.retain(|subscriber| subscriber.send(line.clone()).is_ok());
    }
}

/// Lets the time of a look pass, until the list has been made.
async fn look(dockerd: &Dockerd, clock: &FrozenClock) {
    let before = dockerd.world().lists;
    clock.advance_until(Duration::from_secs(1), "a look", || dockerd.world().lists > before).await;
}

#[tokio::test]
async fn a_look_inspects_nobody_who_is_as_he_was() {
    let (dockerd, watch, clock) = watched(&[1, 2, 3]).await;
    dockerd.run(4);
    dockerd.event("start", 4, json!({}));
    let four = || watch.containers.borrow().as_ref().unwrap().running.len() == 4;
    clock.advance_until(Duration::ZERO, "four", four).await;
    for _ in 0..3 {
        look(&dockerd, &clock).await;
        clock.settle().await;
        clock.advance(A_VERDICT).await;
        clock.settle().await;
    }
    assert_eq!((1..5).map(|n| dockerd.inspections(n)).collect::<Vec<_>>(), [1; 4]);
    assert_eq!(watch.drift.get(), 0);
    assert!(dockerd.world().lists >= 4);
}

#[tokio::test]
async fn a_look_finds_what_no_event_told() {
    let (dockerd, watch, clock) = watched(&[1, 2, 3, 5]).await;
    dockerd.world().containers.remove("c1");
    dockerd.change(2, |c| c["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] = json!("172.17.0.99"));
    // A restart: the same to look at, but for its network endpoint.
    dockerd.change(3, |c| {
        c["NetworkSettings"]["Networks"]["bridge"]["EndpointID"] = json!("another");
        c["State"]["StartedAt"] = json!("2026-01-02T04:00:00Z");
    });
    dockerd.run(4);
    let before = watch.containers.borrow().clone().unwrap();
    let true_again = || {
        let now = watch.containers.borrow().clone().unwrap();
        now.running.keys().map(|id| &**id).eq(["c2", "c3", "c4", "c5"])
            && of(&now, 2).addresses.contains(&[172, 17, 0, 99].into())
            && of(&now, 3).started_ms > of(&before, 3).started_ms
    };
    clock.advance_until(Duration::from_secs(1), "the truth", true_again).await;
    clock.advance_until(Duration::from_secs(1), "drift", || watch.drift.get() > 0).await;
    assert_eq!(watch.drift.get(), 4);
    assert_eq!(dockerd.inspections(5), 1);
    look(&dockerd, &clock).await;
    clock.settle().await;
    clock.advance(A_VERDICT).await;
    clock.settle().await;
    assert_eq!(watch.drift.get(), 4, "once");
}

#[tokio::test]
async fn an_event_that_comes_after_the_list_is_no_drift() {
    let (dockerd, watch, clock) = watched(&[1, 2]).await;
    dockerd.run(3);
    dockerd.world().containers.remove("c1");
    look(&dockerd, &clock).await;
    let seen = || watch.containers.borrow().as_ref().unwrap().running.keys().map(|id| &**id).eq(["c2", "c3"]);
    clock.advance_until(Duration::ZERO, "the truth", seen).await;
    dockerd.event("start", 3, json!({}));
    dockerd.event("die", 1, json!({}));
    clock.settle().await;
    clock.advance(A_VERDICT).await;
    look(&dockerd, &clock).await;
    assert_eq!(watch.drift.get(), 0);
}

#[tokio::test]
async fn a_dockerd_that_does_not_list_is_down() {
    let (dockerd, mut watch, clock) = watched(&[1]).await;
    dockerd.world().list_hangs = true;
    let down = || watch.source.borrow().state.as_str() == "down";
    clock.advance_until(Duration::from_secs(1), "down", down).await;
    let SourceState::Down(reason) = watch.source.borrow().state.clone() else { panic!() };
    assert!(reason.contains("a list of containers within 30s"), "{reason}");
    assert_eq!(watch.containers.borrow().as_ref().unwrap().running.len(), 1, "what was said last stands");
    dockerd.world().list_hangs = false;
    let up = || watch.source.borrow().state == SourceState::Up;
    clock.advance_until(A_LOOK, "up again", up).await;
    drop(clock);
    watch.until_ids(&[1]).await;
}

#[tokio::test]
async fn a_reconnection_inspects_nobody_who_is_as_he_was() {
    let mut dockerd = Dockerd::new().holding(&[1, 2, 3]);
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1, 2, 3]).await;
    watch.until_source("up").await;
    dockerd.stop();
    watch.until_source("down").await;
    dockerd.change(2, |c| c["NetworkSettings"]["Networks"]["bridge"]["EndpointID"] = json!("another"));
    dockerd.run(4);
    dockerd.start();
    watch.until_ids(&[1, 2, 3, 4]).await;
    watch.until_source("up").await;
    let again = || dockerd.inspections(2) == 2;
    FrozenClock::new().advance_until(Duration::ZERO, "another life", again).await;
    assert_eq!((dockerd.inspections(1), dockerd.inspections(3), watch.drift.get()), (1, 1, 0));
}

#[tokio::test]
async fn a_network_that_is_connected_or_disconnected_shows_at_once() {
    let mut dockerd = Dockerd::new().holding(&[1, 2]);
    dockerd.change(2, |c| c["HostConfig"]["NetworkMode"] = json!("container:c1"));
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1, 2]).await;
    let second = json!({"NetworkID": "n0", "EndpointID": "e9", "IPAddress": "172.17.0.77"});
    dockerd.change(1, |c| c["NetworkSettings"]["Networks"]["app"] = second);
    // What is about nobody who is known is passed over.
    dockerd.network_event("connect", json!({}));
    dockerd.network_event("connect", json!({"container": ""}));
    dockerd.network_event("connect", json!({"container": "../c1"}));
    dockerd.network_event("connect", json!({"container": "unknown"}));
    dockerd.network_event("connect", json!({"container": "c1"}));
    let both = |now: &Containers| [1, 2].iter().all(|n| of(now, *n).addresses.len() == 2);
    watch.until("two addresses, and whoever shares them", both).await;
    dockerd.change(1, |c| c["NetworkSettings"]["Networks"] = json!({}));
    dockerd.network_event("disconnect", json!({"container": "c1"}));
    let none = |now: &Containers| {
        [1, 2]
            .iter()
            .all(|n| matches!(of(now, *n).network, Network::Unsupported(_)) && of(now, *n).addresses.is_empty())
    };
    watch.until("none", none).await;
    assert_eq!(dockerd.inspections(9), 0);
    assert!(!dockerd.world().inspections.contains_key("unknown"));
}

#[tokio::test]
async fn an_image_is_looked_at_once() {
    let mut dockerd = Dockerd::new();
    for n in 0..100 {
        let mut inspected = inspection(n);
        inspected["Image"] = json!("sha256:baked");
        inspected["Config"]["Labels"] = json!({"meshdog.orders.port": "80"});
        dockerd.world().containers.insert(name(n), inspected);
    }
    dockerd.start();
    let mut watch = dockerd.watch();
    let all = |now: &Containers| now.running.len() == 100;
    watch.until("all", all).await;
    let asked = dockerd.world().inspections["sha256:baked"];
    assert!(asked <= 16, "no more than are under way at once: {asked}");
    for n in 0..100 {
        dockerd.event("start", n, json!({}));
    }
    let again = || (0..100).all(|n| dockerd.inspections(n) >= 2);
    let clock = FrozenClock::new();
    clock.advance_until(Duration::ZERO, "all again", again).await;
    clock.settle().await;
    assert_eq!(dockerd.world().inspections["sha256:baked"], asked);
}
