use serde_json::{Value, json};

use super::*;
use crate::names::dns::{PathStates, ResolverState};
use crate::telemetry::inputs::tests::{Fixture, WEB, resolver};

#[test]
fn the_status_of_a_working_node_is_the_documented_object() {
    let status = serde_json::to_value(build(&Fixture::working().snapshot())).unwrap();
    let since = "2026-01-02T03:04:05.679Z";
    let expected = json!({
        "node": {"name": "node-a", "address": "10.0.1.5", "zone": "us-west-2a", "version": env!("CARGO_PKG_VERSION")},
        "ready": true,
        "sources": {
            "docker": {"state": "up", "since": since},
            "host_api": {"state": "down", "since": since, "why": "connection refused"},
            "registry": {"state": "up", "since": since},
            "ecs": {"state": "off", "since": since},
        },
        "services": status["services"],
        "conflicts": [{"alias": "orders:80", "owner": "prod/orders", "loser": "shared/orders"}],
        "dataplane": {"backend": "nftables", "namespaces": 1, "in_sync": true, "last_apply_ms": 0.4, "repairs": 2},
        "names": {"hosts_files": 1, "dns": "answering", "servers": ["10.0.0.2"]},
        "budget": {"names": 3, "limit": 8192, "refused": 2},
        "update": {
            "phase": "off", "running": "1.50.0", "chosen": null, "refused": [],
            "why": "update.mode is off",
        },
    });
    assert_eq!(status, expected);
}

#[test]
fn a_service_is_the_documented_object() {
    let status = serde_json::to_value(build(&Fixture::working().snapshot())).unwrap();
    let services = status["services"].as_array().unwrap();
    let names: Vec<_> = services.iter().map(|s| format!("{} {}", s["name"], s["protocol"])).collect();
    assert_eq!(names.join(","), r#""gate" "tcp","gate" "udp","orders" "http","orders" "tcp""#);
    let endpoint = |address: &str, container: &str, state: &str, reason: &str, share: f64| {
        json!({
            "id": format!("{}:8080/tcp", container.get(..12).unwrap_or(container)), "address": address, "published": null,
            "node": "node-a", "zone": "us-west-2a", "task": "web-1",
            "state": state, "reason": reason, "weight": 1, "share": share,
        })
    };
    let orders = json!({
        "namespace": "prod", "name": "orders", "protocol": "http", "vip": "198.19.0.7", "vip6": null,
        "aliases": [{"name": "orders", "port": 80}, {"name": "orders.prod", "port": 80}],
        "endpoints": [
            endpoint("172.17.0.3:8080", WEB, "healthy", "probe passed", 1.0),
            endpoint("172.17.0.4:8080", "beef", "ejected", "5 connects failed in 30 s", 0.0),
        ],
    });
    assert_eq!(services[2], orders);
    assert_eq!(services[3]["why"], "it has no endpoints");
}

#[test]
fn a_node_that_knows_nothing_yet_says_so() {
    let status = serde_json::to_value(build(&Fixture::starting().snapshot())).unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["node"]["name"], Value::Null);
    assert_eq!(status["update"]["running"], Value::Null);
    assert_eq!(status["waiting_for"].as_array().unwrap().len(), 5);
    assert_eq!(status["sources"]["docker"]["state"], "starting");
    assert_eq!(status["services"], json!([]));
}

#[test]
fn the_resolver_is_told_by_a_word_and_why_it_fails() {
    let all = Fixture::working();
    let address = resolver();
    let failing = ResolverState::Failing { listen: address, error: "address in use".into() };
    for (state, names) in [
        (ResolverState::Off, json!({"hosts_files": 1, "dns": "off"})),
        (ResolverState::Starting, json!({"hosts_files": 1, "dns": "starting"})),
        (failing, json!({"hosts_files": 1, "dns": "failing", "why": "cannot listen on 198.19.0.1:53: address in use"})),
        (ResolverState::Listening { address, paths: None }, json!({"hosts_files": 1, "dns": "listening"})),
        (
            ResolverState::Listening { address, paths: Some(PathStates::new()) },
            json!({"hosts_files": 1, "dns": "answering"}),
        ),
    ] {
        all.resolver.send_replace(state);
        all.name_servers.send_replace(Default::default());
        assert_eq!(serde_json::to_value(build(&all.snapshot())).unwrap()["names"], names);
    }
}

#[test]
fn what_is_written_is_read_back() {
    for all in [Fixture::working(), Fixture::starting()] {
        let written = serde_json::to_string(&build(&all.snapshot())).unwrap();
        assert_eq!(serde_json::to_string(&all.status()).unwrap(), written);
    }
}

#[test]
fn a_clock_out_of_range_is_no_reason_to_fail() {
    let far = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 60);
    assert_eq!(timestamp(far), Timestamp::UNIX_EPOCH);
}
