//! What is known of containers that ended.

use super::*;
use crate::model::Past;

fn past(now: &Containers, n: u8) -> &Past {
    &now.pasts[&*name(n)]
}

#[tokio::test]
async fn how_a_container_ended_is_known() {
    let mut dockerd = Dockerd::new().holding(&[1, 2]);
    dockerd.world().ended = vec![
        json!({"Id": "c7", "Names": ["/batch"], "State": "exited", "Status": "Exited (3) 5 minutes ago",
               "Labels": {"meshdog.batch.port": "80"}}),
        json!({"Id": "c8", "Names": ["/old"], "State": "exited", "Status": "Exited (3) 5 weeks ago"}),
    ];
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[1, 2]).await;
    let seen = watch.until("who had ended before", |now| now.pasts.contains_key("c7")).await;
    assert_eq!((past(&seen, 7).end.unwrap().exit_code, &*past(&seen, 7).services[0]), (Some(3), "batch"));
    assert!(!seen.pasts.contains_key("c8") && !dockerd.world().inspections.contains_key("c7"));

    dockerd.event("oom", 1, json!({}));
    dockerd.event("die", 1, json!({"exitCode": "137", "name": "orders-1", "meshdog.orders.port": "80"}));
    dockerd.event("kill", 2, json!({"signal": "15"}));
    dockerd.event("die", 2, json!({"exitCode": "143", "name": "web-2"}));
    let seen = watch.until("both", |now| now.running.is_empty() && now.pasts.contains_key("c2")).await;
    let end = past(&seen, 1).end.unwrap();
    assert!((end.exit_code, end.out_of_memory, end.stopped) == (Some(137), true, false), "{end:?}");
    assert_eq!((&*past(&seen, 1).name, &*past(&seen, 1).services[0]), ("orders-1", "orders"));
    let end = past(&seen, 2).end.unwrap();
    assert!((end.exit_code, end.out_of_memory, end.stopped) == (Some(143), false, true), "{end:?}");
}

#[tokio::test]
async fn a_loop_is_counted_and_what_is_removed_is_known_as_such() {
    let mut dockerd = Dockerd::new();
    dockerd.start();
    let mut watch = dockerd.watch();
    watch.until_ids(&[]).await;
    for _ in 0..5 {
        // It never runs long enough to be looked at.
        dockerd.event("start", 1, json!({}));
        dockerd.event("die", 1, json!({"exitCode": "1", "name": "orders-1"}));
    }
    let seen = watch.until("five", |now| now.pasts.values().any(|past| past.starts_ms.len() == 5)).await;
    assert!(past(&seen, 1).loops(past(&seen, 1).end.unwrap().at_ms));
    dockerd.event("destroy", 1, json!({}));
    watch.until("removed", |now| past(now, 1).end.is_some_and(|end| end.removed)).await;
}
