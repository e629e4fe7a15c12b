use std::net::SocketAddr;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::config::{BackendKind, Locality};
use crate::mesh::known::KNOWN_FOR;
use crate::model::{EndpointId, EndpointState, SocketAddrs, VipRanges, Weight};

pub(super) fn settings() -> MeshSettings {
    MeshSettings {
        namespace: "prod".parse().unwrap(),
        import: vec!["shared".parse().unwrap()],
        vip_ranges: VipRanges::default(),
        backend: BackendKind::Auto,
        locality: Locality::PreferZone,
        image_labels: false,
        alias_allow: Vec::new(),
    }
}

/// An endpoint of `namespace/name`, number `n`, with these aliases.
pub(super) fn endpoint(service: &str, n: u8, protocol: &str, aliases: &[&str], started_ms: u64) -> Endpoint {
    let (namespace, name) = service.split_once('/').unwrap();
    let port = NonZeroU16::new(8080).unwrap();
    let protocol: crate::model::AppProtocol = protocol.parse().unwrap();
    Endpoint {
        service: ServiceId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() },
        id: EndpointId::new(&format!("{n:012x}"), port, protocol.l4()),
        addresses: EndpointAddresses::on_bridge(&format!("172.17.0.{n}:8080")),
        protocol,
        aliases: aliases.iter().map(|alias| alias.parse().unwrap()).collect(),
        weight: Weight::default(),
        node: "node".into(),
        zone: None,
        task: "task".into(),
        container: "c".into(),
        started_ms,
        state: EndpointState::Healthy,
        last_resort: false,
        reason: "running".into(),
    }
}

pub(super) fn inputs(endpoints: &[Endpoint]) -> MeshSnapshot {
    MeshSnapshot {
        catalog: endpoints.iter().map(|e| (e.key(), Arc::new(e.clone()))).collect(),
        ..MeshSnapshot::default()
    }
}

fn fresh(endpoints: &[Endpoint]) -> Desired {
    compute(&settings(), &Remembered::default(), inputs(endpoints))
}

pub(super) fn frontends(desired: &Desired, view: View) -> &imbl::OrdMap<Frontend, Slots> {
    &desired.ruleset(view).unwrap().frontends
}

/// The last byte of an address.
fn last(address: IpAddr) -> u8 {
    *crate::model::address::octets(address).last().unwrap()
}

/// Where a connection to `name:port` may end.
pub(super) fn dial(desired: &Desired, alias: &str, l4: L4) -> Vec<u8> {
    let alias: Alias = alias.parse().unwrap();
    let Some(&vips) = desired.names.get(&alias.name) else { return Vec::new() };
    let slots = frontends(desired, View::Node).get(&Frontend { vip: vips.first(), l4, port: alias.port });
    slots.iter().flat_map(|slots| slots.iter()).map(|address| last(address.ip())).collect()
}

#[test]
fn a_service_is_reached_by_its_aliases_and_its_qualified_name() {
    let desired = fresh(&[
        endpoint("prod/orders", 1, "http", &["orders:80", "api:8000"], 0),
        endpoint("prod/orders", 2, "http", &["orders:80", "api:8000"], 0),
    ]);
    for alias in ["orders:80", "api:8000", "orders.prod:80", "api:80"] {
        assert_eq!(dial(&desired, alias, L4::Tcp), [1, 2], "{alias}");
    }
    assert!(dial(&desired, "orders:8080", L4::Tcp).is_empty());
    assert!(dial(&desired, "orders:80", L4::Udp).is_empty());
    let service = &desired.services.values().next().unwrap();
    assert_eq!((service.slots, service.endpoints[0].share), (2, 0.5));
    assert_eq!(service.vips, desired.names.get(&"orders".parse::<AliasName>().unwrap()).copied());
}

#[test]
fn one_service_may_speak_both_transports() {
    let desired =
        fresh(&[endpoint("prod/dns", 1, "udp", &["dns:53"], 0), endpoint("prod/dns", 2, "tcp", &["dns:53"], 0)]);
    assert_eq!(dial(&desired, "dns:53", L4::Udp), [1]);
    assert_eq!(dial(&desired, "dns:53", L4::Tcp), [2]);
    assert_eq!(desired.services.len(), 2);
}

#[test]
fn only_the_own_and_the_imported_namespaces_are_dialled() {
    let desired = fresh(&[
        endpoint("shared/users", 1, "tcp", &["users:80"], 0),
        endpoint("other/carts", 2, "tcp", &["carts:80"], 0),
    ]);
    assert_eq!(dial(&desired, "users.shared:80", L4::Tcp), [1]);
    assert!(dial(&desired, "carts:80", L4::Tcp).is_empty());
    let carts = desired.services.iter().find(|((id, _), _)| id.name.as_str() == "carts").unwrap().1;
    assert!(carts.vips.is_none() && carts.why.as_ref().unwrap().contains("mesh.import"));
}

#[test]
fn two_services_share_a_name_on_different_ports_and_the_older_keeps_a_contested_port() {
    let desired = fresh(&[
        endpoint("prod/orders", 1, "tcp", &["api:80"], 5),
        endpoint("prod/users", 2, "tcp", &["api:81", "api:80"], 9),
    ]);
    assert_eq!(dial(&desired, "api:80", L4::Tcp), [1]);
    assert_eq!(dial(&desired, "api:81", L4::Tcp), [2]);
    assert_eq!(dial(&desired, "users.prod:80", L4::Tcp), [2]);
    let conflict = &desired.conflicts[..];
    assert_eq!(conflict.len(), 1);
    assert_eq!((conflict[0].owner.name.as_str(), conflict[0].loser.name.as_str()), ("orders", "users"));
}

#[test]
fn nobody_takes_another_services_qualified_name_or_its_own_namespaces_alias() {
    let desired = fresh(&[
        endpoint("prod/thief", 1, "tcp", &["orders.prod:80"], 1),
        endpoint("prod/orders", 2, "tcp", &["orders.prod:80"], 9),
        endpoint("shared/early", 3, "tcp", &["web:80"], 1),
        endpoint("prod/late", 4, "tcp", &["web:80"], 9),
    ]);
    assert_eq!(dial(&desired, "orders.prod:80", L4::Tcp), [2]);
    assert_eq!(dial(&desired, "web:80", L4::Tcp), [4]);
}

#[test]
fn an_older_stranger_does_not_take_the_name_that_a_service_goes_by() {
    let thief = endpoint("prod/thief", 1, "tcp", &["orders:80"], 1);
    let desired = fresh(&[thief.clone(), endpoint("prod/orders", 2, "tcp", &["orders:80"], 9)]);
    assert_eq!(dial(&desired, "orders:80", L4::Tcp), [2]);
    // The order of imports goes before that: what a node's own namespace says counts most.
    let desired = fresh(&[thief, endpoint("shared/orders", 3, "tcp", &["orders:80"], 9)]);
    assert_eq!(dial(&desired, "orders:80", L4::Tcp), [1]);
}

#[test]
fn a_rolling_deployment_does_not_lose_a_contested_alias() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let rival = endpoint("prod/rival", 9, "tcp", &["api:80"], 50);
    mesh.advance(inputs(&[endpoint("prod/orders", 1, "tcp", &["api:80"], 10), rival.clone()]));
    let replacement = endpoint("prod/orders", 2, "tcp", &["api:80"], 90);
    let desired = mesh.advance(inputs(&[replacement.clone(), rival.clone()]));
    assert_eq!(dial(&desired, "api:80", L4::Tcp), [2]);
    let desired = mesh.advance(inputs(&[rival]));
    assert_eq!(dial(&desired, "api:80", L4::Tcp), [9]);
}

#[test]
fn without_anyone_to_serve_the_name_stays_and_the_port_is_not_programmed() {
    let mut starting = endpoint("prod/orders", 1, "tcp", &["orders:80"], 0);
    starting.state = EndpointState::Starting;
    let desired = fresh(&[starting]);
    assert!(desired.names.contains_key(&"orders".parse::<AliasName>().unwrap()));
    assert!(frontends(&desired, View::Node).is_empty());
    assert!(fresh(&[]).names.is_empty());
}

#[test]
fn a_full_range_says_so() {
    let mut settings = settings();
    settings.vip_ranges = VipRanges::new("198.19.0.0/28".parse().unwrap(), None).unwrap();
    let endpoints: Vec<_> = (0..11).map(|n| endpoint(&format!("prod/s{n}"), n, "tcp", &["x:1"], 0)).collect();
    let desired = compute(&settings, &Remembered::default(), inputs(&endpoints));
    let without: Vec<_> = desired.services.values().filter(|service| service.vips.is_none()).collect();
    assert_eq!(without.len(), 1);
    assert!(without[0].why.as_ref().unwrap().contains("vip_cidr"));
}

#[test]
fn locals_are_the_bridge_endpoints_of_this_node() {
    let mut elsewhere = endpoint("prod/orders", 2, "tcp", &["orders:80"], 0);
    elsewhere.addresses = EndpointAddresses::remote("172.17.0.2:8080");
    let mut host_network = endpoint("prod/orders", 3, "tcp", &["orders:80"], 0);
    let node: SocketAddr = "10.0.0.1:8080".parse().unwrap();
    host_network.addresses = EndpointAddresses::Own {
        network: LocalNetwork::Host,
        local: node.try_into().unwrap(),
        published: Some(node.try_into().unwrap()),
    };
    let here = endpoint("prod/orders", 1, "tcp", &["orders:80"], 0);
    let also = endpoint("prod/users", 1, "tcp", &["users:80"], 0);
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let locals = |desired: &Desired| {
        let ruleset = desired.ruleset(View::Node).unwrap();
        ruleset.locals.iter().map(|ip| last(*ip)).collect::<Vec<_>>()
    };
    assert_eq!(locals(&mesh.advance(inputs(&[here.clone(), also, elsewhere, host_network]))), [1]);
    assert_eq!(locals(&mesh.advance(inputs(&[here]))), [1]);
    assert!(locals(&mesh.advance(inputs(&[]))).is_empty());
}

#[test]
fn an_endpoint_that_changes_its_state_is_no_news_to_names_and_other_services() {
    let orders = |state| Endpoint { state, ..endpoint("prod/orders", 1, "tcp", &["orders:80"], 0) };
    let users = endpoint("prod/users", 2, "tcp", &["users:80", "orders:80"], 5);
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let before = mesh.advance(inputs(&[orders(EndpointState::Healthy), users.clone()]));
    let mut changed = mesh.snapshot.clone();
    changed.catalog.insert(orders(EndpointState::Healthy).key(), Arc::new(orders(EndpointState::Draining)));
    let after = mesh.advance(changed);
    assert!(after.names.ptr_eq(&before.names));
    assert!(Arc::ptr_eq(&after.conflicts, &before.conflicts) && after.conflicts.len() == 1);
    let key = (users.service.clone(), L4::Tcp);
    assert!(Arc::ptr_eq(&after.services[&key], &before.services[&key]));
    assert_ne!(after.rulesets, before.rulesets);
}

#[test]
fn who_has_a_name_that_several_claim_keeps_it_over_a_restart() {
    let claims = |service, n, since| endpoint(service, n, "tcp", &["shop:80"], since);
    let (older, newer) = (claims("prod/a", 1, 10), claims("prod/b", 2, 20));
    let owner = |desired: &Desired| desired.names.get(&"shop".parse::<AliasName>().unwrap()).copied();
    let own = |desired: &Desired, name: &str| desired.names.get(&name.parse::<AliasName>().unwrap()).copied();
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    mesh.advance(inputs(&[older, newer.clone()]));
    // A rolling deployment: its claim is as old as ever.
    let replaced = claims("prod/a", 3, 30);
    mesh.advance(inputs(&[replaced.clone(), newer.clone()]));
    let text = serde_json::to_string(&mesh.remembered()).unwrap();
    let remembered: Remembered = serde_json::from_str(&text).unwrap();
    let both = inputs(&[replaced, newer.clone()]);
    let mut again = Mesh::new(settings(), &remembered);
    let after = again.advance(both.clone());
    assert!(owner(&after).is_some() && owner(&after) == own(&after, "a.prod"));
    let forgetful = compute(&settings(), &Remembered::default(), both.clone());
    assert_eq!(owner(&forgetful), own(&forgetful, "b.prod"), "without memory it would have changed hands");
    // Who goes and comes back begins anew.
    again.advance(inputs(&[newer]));
    let back = again.advance(both);
    assert_eq!(owner(&back), own(&back, "b.prod"));
}

#[test]
fn udp_flows_stay_with_who_drains_and_still_answers_until_nobody_drains_there() {
    let drains = |service, last_resort| Endpoint {
        state: EndpointState::Draining,
        last_resort,
        ..endpoint(service, 1, "udp", &["a:53"], 0)
    };
    let (first, second) = (drains("prod/a", true), drains("prod/b", true));
    let serves = endpoint("prod/a", 2, "udp", &["a:53"], 0);
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let mut draining = |endpoints: &[Endpoint]| {
        let desired = mesh.advance(inputs(endpoints));
        desired.ruleset(View::Node).unwrap().draining.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(draining(&[first.clone(), second.clone(), serves.clone()]), ["172.17.0.1:8080"]);
    assert_eq!(draining(&[second.clone(), serves.clone()]), ["172.17.0.1:8080"], "another service's is there too");
    assert!(draining(&[drains("prod/b", false), serves.clone()]).is_empty(), "it answers no more");
    assert_eq!(draining(&[second, serves.clone()]), ["172.17.0.1:8080"]);
    assert!(draining(&[serves]).is_empty());
    let tcp = Endpoint { protocol: "tcp".parse().unwrap(), ..first };
    assert!(draining(&[tcp]).is_empty(), "TCP flows stay anyway");
}

/// An endpoint with a local and a published address, or with one of them alone.
fn placed(n: u8, local: Option<&str>, published: Option<&str>) -> Endpoint {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap().try_into().unwrap();
    let addresses = match (local, published) {
        (Some(local), published) => {
            EndpointAddresses::Own { network: LocalNetwork::Bridge, local: at(local), published: published.map(at) }
        }
        (None, Some(published)) => EndpointAddresses::Remote { published: at(published) },
        (None, None) => panic!("an endpoint is somewhere"),
    };
    Endpoint { addresses, ..endpoint("prod/orders", n, "tcp", &["orders:80"], 0) }
}

/// Where clients of a view end, by the VIP of a family.
fn seen_from(desired: &Desired, view: View, family: Family) -> Vec<String> {
    let vip = desired.names[&"orders".parse::<AliasName>().unwrap()].get(family);
    let Some(ruleset) = desired.ruleset(view) else { return Vec::new() };
    let frontend = vip.map(|vip| Frontend { vip, l4: L4::Tcp, port: 80.try_into().unwrap() });
    let slots = frontend.and_then(|frontend| ruleset.frontends.get(&frontend));
    slots.iter().flat_map(|slots| slots.iter()).map(ToString::to_string).collect()
}

#[test]
fn each_view_has_the_addresses_that_its_clients_reach() {
    let all = [
        placed(1, Some("172.17.0.1:8080"), Some("10.0.0.1:32768")),
        placed(2, Some("172.17.0.2:8080"), None),
        placed(3, None, Some("10.0.0.2:8080")),
    ];
    let views = BTreeSet::from([View::Node, View::Elsewhere]);
    let both = compute(&settings(), &Remembered::default(), MeshSnapshot { views, ..inputs(&all) });
    let node = ["172.17.0.1:8080", "172.17.0.2:8080", "10.0.0.2:8080"];
    assert_eq!(seen_from(&both, View::Node, Family::V4), node);
    let elsewhere = ["10.0.0.1:32768", "10.0.0.2:8080"];
    assert_eq!(seen_from(&both, View::Elsewhere, Family::V4), elsewhere, "what is not published is not there");
    // The shares that people see are those of this node's clients.
    let service = both.services.values().next().unwrap();
    assert!(service.endpoints.iter().all(|one| one.share == 1.0 / 3.0));
    let ruleset = both.ruleset(View::Elsewhere).unwrap();
    assert!(ruleset.locals.is_empty() && ruleset.bridges.is_empty(), "bridges are this node's");

    let alone = fresh(&all);
    assert_eq!(seen_from(&alone, View::Node, Family::V4), node);
    assert!(alone.ruleset(View::Elsewhere).is_none(), "a view without clients costs nothing");
}

#[test]
fn a_view_that_can_reach_none_of_the_healthy_makes_do_with_the_others() {
    let mut sick = placed(2, None, Some("10.0.0.2:8080"));
    sick.state = EndpointState::Unhealthy;
    let all = [placed(1, Some("172.17.0.1:8080"), None), sick];
    let views = BTreeSet::from([View::Node, View::Elsewhere]);
    let desired = compute(&settings(), &Remembered::default(), MeshSnapshot { views, ..inputs(&all) });
    assert_eq!(seen_from(&desired, View::Node, Family::V4), ["172.17.0.1:8080"]);
    assert_eq!(seen_from(&desired, View::Elsewhere, Family::V4), ["10.0.0.2:8080"]);
}

#[test]
fn views_come_and_go_and_leave_the_others_as_they_were() {
    let all = [placed(1, Some("172.17.0.1:8080"), Some("10.0.0.1:32768"))];
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let before = mesh.advance(inputs(&all));
    let views = BTreeSet::from([View::Node, View::Elsewhere]);
    let more = mesh.advance(MeshSnapshot { views, ..inputs(&all) });
    assert_eq!(seen_from(&more, View::Elsewhere, Family::V4), ["10.0.0.1:32768"]);
    assert!(Arc::ptr_eq(before.ruleset(View::Node).unwrap(), more.ruleset(View::Node).unwrap()));
    let after = mesh.advance(inputs(&all));
    assert!(after.ruleset(View::Elsewhere).is_none());
    assert!(Arc::ptr_eq(before.ruleset(View::Node).unwrap(), after.ruleset(View::Node).unwrap()));
}

#[test]
fn a_service_has_a_vip_of_each_family_that_its_endpoints_have() {
    let (v4, v6) = (placed(1, Some("172.17.0.1:8080"), None), placed(2, Some("[fd00::2]:8080"), None));
    let mut both = placed(3, Some("172.17.0.3:8080"), None);
    both.addresses = EndpointAddresses::Own {
        network: LocalNetwork::Bridge,
        local: SocketAddrs {
            ip: DualStack::Both([172, 17, 0, 3].into(), "fd00::3".parse().unwrap()),
            port: 8080.try_into().unwrap(),
        },
        published: None,
    };
    let desired = fresh(&[v4.clone(), v6, both]);
    assert_eq!(seen_from(&desired, View::Node, Family::V4), ["172.17.0.1:8080", "172.17.0.3:8080"]);
    assert_eq!(seen_from(&desired, View::Node, Family::V6), ["[fd00::2]:8080", "[fd00::3]:8080"]);
    let service = desired.services.values().next().unwrap();
    let shares: Vec<f64> = service.endpoints.iter().map(|one| one.share).collect();
    assert_eq!((shares, service.slots), (vec![0.25, 0.25, 0.5], 2));
    assert_eq!(desired.ruleset(View::Node).unwrap().locals.len(), 4);

    let desired = fresh(&[v4]);
    assert!(seen_from(&desired, View::Node, Family::V6).is_empty());
    assert!(matches!(desired.services.values().next().unwrap().vips, Some(DualStack::V4(_))));
}

fn arbitrary() -> impl Strategy<Value = Vec<Endpoint>> {
    const ALIASES: [&[&str]; 4] = [&["a:80"], &["b:80", "a:81"], &["a.prod:80"], &["c:80", "c:81", "a:80"]];
    const SERVICES: [&str; 6] = ["prod/a", "prod/b", "shared/a", "shared/c", "other/d", "prod/e"];
    const PROTOCOLS: [&str; 4] = ["tcp", "udp", "http", "grpc"];
    let one = (
        prop::sample::select(&SERVICES[..]),
        1u8..9,
        prop::sample::select(&PROTOCOLS[..]),
        prop::sample::select(&ALIASES[..]),
        prop::sample::select(&EndpointState::ALL[..]),
        any::<bool>(),
        0..4_usize,
    );
    let one = one.prop_map(|(service, n, protocol, aliases, state, last_resort, place)| {
        let (v4, v6) = (format!("172.17.0.{n}:8080"), format!("[fd00::{n}]:8080"));
        let places = [
            (Some(&*v4), None),
            (Some(&*v4), Some("10.0.0.1:32768")),
            (None, Some("10.0.0.2:8080")),
            (Some(&*v6), Some("[fd00::1]:32768")),
        ];
        let addresses = placed(n, places[place].0, places[place].1).addresses;
        Endpoint { addresses, state, last_resort, ..endpoint(service, n, protocol, aliases, 7) }
    });
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn step_by_step_or_at_once_the_result_is_the_same(
        steps in prop::collection::vec((arbitrary(), any::<bool>()), 1..8),
    ) {
        let mut mesh = Mesh::new(settings(), &Remembered::default());
        let mut last = Desired::default();
        let inputs = |(endpoints, elsewhere): &(Vec<Endpoint>, bool)| {
            let views = [View::Node, View::Elsewhere].into_iter().take(if *elsewhere { 2 } else { 1 });
             MeshSnapshot { views: views.collect(), ..inputs(endpoints) }
        };
        // An hour lies between two steps, and one behind the last: whoever has gone is forgotten by then.
        for (step, hour) in steps.iter().chain(steps.last()).zip(0..) {
            last = mesh.advance(MeshSnapshot { now: KNOWN_FOR * hour, ..inputs(step) });
        }
        let once = compute(&settings(), &mesh.vips().remembered(), inputs(steps.last().unwrap()));
        prop_assert_eq!(&last.rulesets, &once.rulesets);
        prop_assert_eq!(&last.names, &once.names);
        prop_assert_eq!(&last.served, &once.served);
        prop_assert_eq!(&last.holders, &once.holders);
        prop_assert_eq!(mesh.next_forgotten(), None);
        prop_assert_eq!(&last.services, &once.services);
        prop_assert_eq!(&last.conflicts, &once.conflicts);
    }
}
