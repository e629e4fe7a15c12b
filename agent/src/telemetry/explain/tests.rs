use proptest::prelude::*;

use super::*;
use crate::telemetry::inputs::tests::{Fixture, WEB};

fn ask(query: &str) -> Explanation {
    explain(&Fixture::working().snapshot(), query)
}

/// `namespace/name protocol: how it was found`, for each service that was found.
fn found(query: &str) -> Vec<String> {
    let services = ask(query).services.into_iter();
    services
        .map(|s| format!("{}/{} {}: {}", s.service.namespace, s.service.name, s.service.protocol, s.matched))
        .collect()
}

#[test]
fn a_service_is_found_by_each_of_its_names() {
    for (query, matched) in [
        ("orders.prod", "orders.prod is one of its aliases"),
        ("Orders.PROD.", "orders.prod is one of its aliases"),
        ("orders.prod:80", "orders.prod is one of its aliases"),
        (" prod/orders ", "prod/orders is its name"),
        ("http://orders.prod/cart?x=1", "orders.prod is one of its aliases"),
        ("http://198.19.0.7:80", "198.19.0.7 is its VIP"),
        ("198.19.0.7", "198.19.0.7 is its VIP"),
        ("198.19.0.7:80", "198.19.0.7 is its VIP"),
        ("172.17.0.4", "172.17.0.4:8080 is one of its endpoints"),
        ("172.17.0.4:8080", "172.17.0.4:8080 is one of its endpoints"),
    ] {
        assert_eq!(found(query), [format!("prod/orders http: {matched}")], "{query}");
    }
}

#[test]
fn an_explanation_carries_vip_slots_endpoints_and_reasons() {
    let answer = ask("prod/orders");
    let [orders] = answer.services.as_slice() else { panic!("{answer:?}") };
    assert_eq!(orders.slots, 2);
    assert_eq!(orders.service.vip, Some(IpAddr::from([198, 19, 0, 7])));
    let states: Vec<_> = orders.service.endpoints.iter().map(|e| format!("{}: {}", e.state, e.reason)).collect();
    assert_eq!(states, ["healthy: probe passed", "ejected: 5 connects failed in 30 s"]);
    assert_eq!(orders.conflicts.len(), 1);
}

#[test]
fn a_port_that_nobody_answers_is_pointed_out() {
    assert_eq!(
        found("orders.prod:81"),
        [
            "prod/orders http: orders.prod is one of its aliases, but port 81/tcp refuses; dial orders:80 or orders.prod:80"
        ]
    );
    assert_eq!(
        found("198.19.0.8:80"),
        [
            "prod/gate tcp: 198.19.0.8 is its VIP, but port 80/tcp refuses; dial gate:53 or gate.prod:53",
            "prod/gate udp: 198.19.0.8 is its VIP, but port 80/udp refuses; dial gate:53"
        ]
    );
    assert_eq!(
        found("https://orders.prod"),
        ["prod/orders http: orders.prod is one of its aliases, but port 443/tcp refuses; dial orders:80 or \
             orders.prod:80"]
    );
    assert_eq!(found("172.17.0.4:81"), [""; 0], "an endpoint is its address and its port");
}

#[test]
fn who_lost_an_alias_is_told_with_who_has_it() {
    let lost = "it asked for orders:80, but prod/orders comes before it there; dial another alias";
    for query in ["orders", "orders:80"] {
        let expected =
            ["prod/orders http: orders is one of its aliases".to_owned(), format!("shared/orders tcp: {lost}")];
        assert_eq!(found(query), expected, "{query}");
    }
    let refuses = ask("shared/orders");
    assert_eq!(refuses.services[0].slots, 0);
    assert_eq!(refuses.services[0].service.why.as_deref(), Some("it has no endpoints"));
}

#[test]
fn a_container_is_found_by_name_and_by_the_beginning_of_its_id() {
    for query in ["web-1", "3f1c", "3F1C0FFEE", WEB] {
        let answer = ask(query);
        let [web] = answer.containers.as_slice() else { panic!("{query}: {answer:?}") };
        assert_eq!(web.offers, ["prod/orders by label meshdog.orders.port=8080"]);
        assert_eq!(web.faults[0].label, "meshdog.orders.weight");
        let endpoints: Vec<_> = web.endpoints.iter().map(|e| format!("{} {}", e.service, e.endpoint.state)).collect();
        assert_eq!(endpoints, ["prod/orders healthy"]);
    }
    assert!(ask("cron").containers[0].missing.as_deref().unwrap().starts_with("it has no meshdog label"));
    assert!(!ask("3f1").known(), "three characters are no id");
}

#[test]
fn for_what_is_not_known_the_nearest_is_offered() {
    let answer = ask("ordres");
    assert!(!answer.known());
    assert_eq!(answer.nearest[0], "orders");
    assert!(answer.nearest.len() <= NEAREST);
    let mut unique = answer.nearest.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), answer.nearest.len(), "each once: {:?}", answer.nearest);
    assert_eq!(ask("zzzzzzzz").nearest, [""; 0]);
    assert_eq!(explain(&Fixture::starting().snapshot(), "orders").nearest, [""; 0]);
}

#[test]
fn an_answer_is_read_back() {
    for query in ["orders", "web-1", "nothing"] {
        let answer = ask(query);
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), answer);
    }
}

#[test]
fn an_address_of_a_container_that_offers_nothing_is_the_containers() {
    assert_eq!(ask("172.17.0.9").containers[0].name, "cron".into());
    assert_eq!(ask("http://172.17.0.9:8080/").containers[0].name, "cron".into());
    assert!(!ask("172.17.0.10").known());
}

proptest! {
    #[test]
    fn no_question_makes_it_stumble(query in "\\PC{0,40}|[a-z./:0-9]{0,20}") {
        let answer = ask(&query);
        prop_assert!(!answer.known() || answer.nearest.is_empty());
        prop_assert!(answer.nearest.len() <= NEAREST);
    }
}

#[test]
fn what_lies_on_another_network_is_told_to_both_sides() {
    let all = Fixture::working();
    let bridge = |name| crate::model::IfName::new(name).unwrap();
    let here = explain(&all.inputs().snapshot(), "orders");
    assert!(here.services.iter().all(|service| service.out_of_reach.is_empty()));

    let why = "dropped by rule 7 of chain DOCKER-ISOLATION-STAGE-2 in table ip filter";
    all.closed_roads.send_replace([((bridge("br-1"), bridge("docker0")), Arc::from(why))].into_iter().collect());
    all.containers.send_modify(|containers| {
        let cron = containers.iter_mut().flat_map(|all| all.running.values().cloned()).find(|one| &*one.name == "cron");
        let mut cron = Container::clone(&cron.unwrap());
        cron.bridges = [bridge("br-1")].into();
        containers.as_mut().unwrap().running.insert(cron.id.clone(), Arc::new(cron));
    });
    let now = all.inputs().snapshot();
    let services = explain(&now, "prod/orders").services;
    let told = &services[0].out_of_reach;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("clients on br-1 are refused") && told[0].ends_with(why), "{told:?}");
    let told = &explain(&now, "cron").containers[0].out_of_reach;
    assert!(told.len() == 1 && told[0].contains("prod/orders") && told[0].contains("on docker0"), "{told:?}");
    assert!(explain(&now, "web-1").containers[0].out_of_reach.is_empty(), "its own network");
}
