use std::sync::Arc;

use super::*;
use crate::model::{End, Past};
use crate::telemetry::explain::explain;
use crate::telemetry::inputs::tests::Fixture;

fn text(query: &str) -> String {
    render(&explain(&Fixture::working().snapshot(), query))
}

#[test]
fn a_name_is_followed_to_its_endpoints() {
    insta::assert_snapshot!(text("orders:80"), @r#"
    service prod/orders (http)
      match      orders is one of its aliases
      dialled as orders:80, orders.prod:80
      VIP        198.19.0.7
      slots      2, filled by 1 of 2 endpoints
      conflict   shared/orders asked for orders:80, but prod/orders comes before it
      endpoints
        172.17.0.3:8080  healthy  100 %
          probe passed
          web-1 on node-a in us-west-2a
        172.17.0.4:8080  ejected  0 %
          5 connects failed in 30 s
          web-1 on node-a in us-west-2a

    service shared/orders (tcp)
      match      it asked for orders:80, but prod/orders comes before it there; dial another alias
      dialled as orders.shared:80
      VIP        198.19.0.9
      slots      none: connections are refused
      why        it has no endpoints
      conflict   shared/orders asked for orders:80, but prod/orders comes before it
      endpoints  none: no running container offers it
    "#);
}

#[test]
fn a_container_shows_what_made_it_an_endpoint_and_what_is_wrong() {
    insta::assert_snapshot!(text("web-1"), @r#"
    container web-1 (3f1c0ffee012)
      image      shop/web:3
      network    bridge, 172.17.0.3
      dns        queries to 10.0.0.2 are answered here
      hosts file tells 5 mesh names
      offers     prod/orders by label meshdog.orders.port=8080
      fault      meshdog.orders.weight: weight "�[2J900" is out of range; write a number from 1 to 100
      endpoints
        172.17.0.3:8080  healthy  100 %
          probe passed
          prod/orders on node-a in us-west-2a
    "#);
    insta::assert_snapshot!(text("cron"), @r#"
    container cron (77aa77aa77aa)
      image      shop/cron:1
      network    bridge, 172.17.0.9
      dns        left alone: it was given name servers of its own (--dns)
      hosts file left alone: its /etc/hosts is not the file that Docker keeps, but one of yours; its
                 names come by DNS
      no endpoint: it has no meshdog label and no [[service]] rule matches
    "#);
}

#[test]
fn one_that_ended_is_told_with_how() {
    let all = Fixture::working();
    let now = all.snapshot().wall_ms();
    let end = End { at_ms: now - 12_000, exit_code: Some(137), out_of_memory: true, stopped: false, removed: false };
    let starts_ms = (1..6).map(|n| now - 20_000 * n).collect();
    let past = Past { name: "orders-1".into(), services: ["shared/orders".into()].into(), starts_ms, end: Some(end) };
    let pasts = [(Arc::from("dead".repeat(16)), Arc::new(past))].into_iter().collect();
    all.containers.send_modify(|containers| containers.as_mut().unwrap().pasts = pasts);
    let text = render(&explain(&all.snapshot(), "orders-1")).replace("13 s", "12 s");
    insta::assert_snapshot!(text, @r#"
    container orders-1 exited with code 137 (out of memory) 12 s ago; started 5 times in the last 10
    minutes: it restarts in a loop, see docker logs orders-1
      offered    shared/orders
    "#);
    let text = render(&explain(&all.snapshot(), "shared/orders"));
    assert!(text.contains("endpoints  none") && text.contains("container orders-1 exited with code 137"), "{text}");
}

#[test]
fn what_is_not_known_is_said_with_what_is() {
    insta::assert_snapshot!(text("ordres"), @r#"
    Nothing here is called ordres.
    There is: orders, orders.prod, orders.shared
    "#);
    assert_eq!(text("zz\x1b[2J"), "Nothing here is called zz\u{fffd}[2J.\n");
}
