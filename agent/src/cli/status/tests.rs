use std::sync::Arc;

use super::*;
use crate::cli::text::WIDTH;
use crate::model::{Clients, IfName, L4, QueryPath};
use crate::names::dns::ResolverState;
use crate::telemetry::inputs::tests::{Fixture, since};

fn now() -> Timestamp {
    Timestamp::try_from(since() + Duration::from_secs(180)).unwrap()
}

fn glance(all: &Fixture) -> String {
    render(&all.status(), now()).replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn a_node_at_a_glance() {
    insta::assert_snapshot!(glance(&Fixture::working()), @r#"
    meshdog VERSION on node-a 10.0.1.5 in us-west-2a: ready
    sources    docker up 3m, host_api down 3m: connection refused, registry up 3m, ecs off 3m
    dataplane  nftables, in sync, namespaces 1, last apply 0.4 ms, repairs 2
    names      hosts files 1, dns answering, for queries to 10.0.0.2
    update     running 1.50.0, off: update.mode is off
    conflict   shared/orders asked for orders:80, which prod/orders has

    prod/gate  tcp  198.19.0.8  gate:53 gate.prod:53
      172.17.0.5:53  healthy  100 %  runs

    prod/gate  udp  198.19.0.8  gate:53
      172.17.0.5:53  healthy  100 %  runs

    prod/orders  http  198.19.0.7  orders:80 orders.prod:80
      172.17.0.3:8080  healthy  100 %  probe passed
      172.17.0.4:8080  ejected    0 %  5 connects failed in 30 s

    shared/orders  tcp  198.19.0.9  orders.shared:80
      ! it has no endpoints
    "#);
}

#[test]
fn what_is_in_the_way_of_clients_is_said() {
    let all = Fixture::working();
    let bridge = |name| IfName::new(name).unwrap();
    let path = |name, l4| QueryPath { from: Clients::Bridge(bridge(name)), l4 };
    let paths = [
        (path("docker0", L4::Tcp), Some("dropped by rule 7 of chain INPUT in table ip filter".into())),
        (path("docker0", L4::Udp), None),
    ];
    let address = "240.240.0.1:15053".parse().unwrap();
    all.resolver.send_replace(ResolverState::Listening { address, paths: Some(paths.into_iter().collect()) });
    let road = (bridge("docker0"), bridge("br-1"));
    all.closed_roads.send_replace(
        [(road, Arc::from("dropped by the policy of chain FORWARD in table ip filter"))].into_iter().collect(),
    );
    let lines: Vec<String> = glance(&all).lines().take(12).map(str::to_owned).collect();
    insta::assert_snapshot!(lines[..9].join("\n"), @r#"
    meshdog VERSION on node-a 10.0.1.5 in us-west-2a: not ready
    waiting    the resolver
    sources    docker up 3m, host_api down 3m: connection refused, registry up 3m, ecs off 3m
    dataplane  nftables, in sync, namespaces 1, last apply 0.4 ms, repairs 2
    no way     from docker0 to br-1: services refuse at once, for connections are dropped by the policy
               of chain FORWARD in table ip filter
    names      hosts files 1, dns answering in part: queries do not come here from docker0 (tcp):
               dropped by rule 7 of chain INPUT in table ip filter, for queries to 10.0.0.2
    update     running 1.50.0, off: update.mode is off
    "#);
}

#[test]
fn a_node_that_has_just_started() {
    insta::assert_snapshot!(glance(&Fixture::starting()), @r#"
    meshdog VERSION on a node not known yet: not ready
    waiting    the node's settings, Docker's first list, the registry's first snapshot, the dataplane,
               the resolver
    sources    docker starting 3m, host_api starting 3m, registry starting 3m, ecs starting 3m
    dataplane  nftables, not in sync, namespaces 1, last apply 0.0 ms, repairs 0
    names      hosts files 0, dns starting
    update     off: update.mode is off

    no services
    "#);
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let all = Fixture::working();
    all.desired.send_modify(|desired| {
        let mut wide = crate::model::Desired::clone(desired.as_ref().unwrap());
        let (key, service) = wide.services.iter().next().map(|(key, service)| (key.clone(), service.clone())).unwrap();
        let mut service = crate::model::DesiredService::clone(&service);
        service.aliases = vec![format!("{0}.{0}:80", "a".repeat(60)).parse().unwrap(); 3];
        service.endpoints[0].reason = "because \x1b[31m".repeat(50).into();
        service.why = Some("and so on ".repeat(50).into());
        wide.services.insert(key, std::sync::Arc::new(service));
        *desired = Some(std::sync::Arc::new(wide));
    });
    let text = render(&all.status(), now());
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b'));
}

#[tokio::test]
async fn an_agent_that_is_gone_is_an_error_and_to_watch_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let error = print(&socket, false, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(&error, Error::Agent(client::Error::Connect { .. })));
    assert!(error.to_string().contains("admin.sock"));

    let mut last = None;
    assert!(frame(&socket, &mut last).await.starts_with("no agent answers at"));
    last = Some((Fixture::working().status(), Timestamp::now()));
    let picture = frame(&socket, &mut last).await;
    assert!(picture.starts_with("no agent answers at") && picture.contains("prod/orders"), "{picture}");
}
