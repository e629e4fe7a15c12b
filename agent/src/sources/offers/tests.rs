use super::*;
use crate::config::{BackendKind, Glob, Locality};
use crate::model::{DockerHealth, DualStack, HostsFile};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn container<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Container {
    Container {
        id: ID.into(),
        name: "web-1".into(),
        image: "shop/web:1".into(),
        labels: Arc::new(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
        network: Network::Bridge { address: DualStack::V4([172, 17, 0, 3].into()), published: Arc::default() },
        hosts: HostsFile::None,
        health: DockerHealth::None,
        started_ms: 7,
        stopping: false,
        addresses: Arc::default(),
        baked: Default::default(),
        admitted: usize::MAX,
        bridges: Default::default(),
        own_dns: false,
        paused: false,
    }
}

fn node() -> Node {
    Node {
        name: "node-1".into(),
        address: [10, 0, 1, 5].into(),
        zone: Some("us-west-2a".into()),
        os_version: None,
        hosts: Arc::default(),
    }
}

fn rule(name: &str, matches: Match) -> ServiceRule {
    ServiceRule {
        name: name.parse().unwrap(),
        matches,
        port: NonZeroU16::new(8080).unwrap(),
        alias: vec![format!("{name}:80").parse().unwrap()],
        protocol: AppProtocol::Http,
        health: Some(HealthCheck::Tcp),
    }
}

fn mesh(alias_allow: &[&str]) -> MeshSettings {
    MeshSettings {
        namespace: "prod".parse().unwrap(),
        import: Vec::new(),
        vip_ranges: Default::default(),
        backend: BackendKind::Auto,
        locality: Locality::None,
        image_labels: false,
        alias_allow: alias_allow.iter().map(|glob| Glob::new(glob)).collect(),
    }
}

fn of(container: &Container, rules: &[ServiceRule]) -> Offers {
    offers(container, rules, &mesh(&[]), &node())
}

fn names(offers: &Offers) -> Vec<String> {
    offers.endpoints.iter().map(|offer| offer.endpoint.service.to_string()).collect()
}

fn aliases_of(offer: &Offer) -> Vec<String> {
    offer.endpoint.aliases.iter().map(ToString::to_string).collect()
}

#[test]
fn a_port_is_enough() {
    let offers = of(&container([("meshdog.orders.port", "8080")]), &[]);
    let [offer] = &offers.endpoints[..] else { panic!("{offers:?}") };
    let endpoint = &offer.endpoint;
    assert_eq!(endpoint.service.to_string(), "prod/orders");
    assert_eq!(endpoint.id.as_str(), "0123456789ab:8080/tcp");
    assert_eq!(endpoint.addresses.first().to_string(), "172.17.0.3:8080");
    assert_eq!(aliases_of(offer), ["orders.prod:8080"]);
    assert_eq!((&*endpoint.task, &*endpoint.node, endpoint.started_ms), ("web-1", "node-1", 7));
    assert_eq!((offer.health.clone(), offer.origin), (None, OfferOrigin::Labels));
    assert_eq!((offers.faults.len(), offers.why_not), (0, None));
}

#[test]
fn every_key_is_read() {
    let offers = of(
        &container([
            ("meshdog.orders.port", "53"),
            ("meshdog.orders.alias", "orders:80 , orders.shared:8080,orders:80"),
            ("meshdog.orders.protocol", "udp"),
            ("meshdog.orders.health", "http:/healthz"),
            ("meshdog.orders.weight", "7"),
            ("meshdog.orders.namespace", "shared"),
            ("com.amazonaws.ecs.task-arn", "arn:aws:ecs:us-west-2:1:task/c/9"),
            ("other.label", "x"),
        ]),
        &[],
    );
    let [offer] = &offers.endpoints[..] else { panic!("{offers:?}") };
    assert_eq!(aliases_of(offer), ["orders:80", "orders.shared:8080"]);
    assert_eq!(offer.endpoint.service.to_string(), "shared/orders");
    assert_eq!(offer.endpoint.id.as_str(), "0123456789ab:53/udp");
    assert_eq!(offer.endpoint.weight.get(), 7);
    assert_eq!(&*offer.endpoint.task, "arn:aws:ecs:us-west-2:1:task/c/9");
    assert_eq!(offer.health, Some(HealthCheck::Http("/healthz".into())));
}

#[test]
fn one_bad_label_costs_one_service() {
    for (label, value, expect) in [
        ("meshdog.bad.port", "0", "1 to 65535"),
        ("meshdog.bad.port", " 80", "1 to 65535"),
        ("meshdog.bad.alias", "bad", "name:port"),
        ("meshdog.bad.alias", "", "name:port"),
        ("meshdog.bad.alias", "a:80,,b:80", "name:port"),
        ("meshdog.bad.alias", "A:80", "lowercase"),
        ("meshdog.bad.protocol", "sctp", "use tcp"),
        ("meshdog.bad.health", "exec:/bin/sh", "use none"),
        ("meshdog.bad.weight", "0", "1 to 100"),
        ("meshdog.bad.namespace", "Prod", "lowercase"),
    ] {
        let mut labels = BTreeMap::from([("meshdog.bad.port", "80"), ("meshdog.good.port", "81")]);
        labels.insert(label, value);
        let offers = of(&container(labels), &[]);
        assert_eq!(names(&offers), ["prod/good"], "{label}={value}");
        let [fault] = &offers.faults[..] else { panic!("{label}={value}: {offers:?}") };
        assert_eq!((&*fault.label, &*fault.container), (label, ID));
        assert!(fault.problem.contains(expect), "{label}={value}: {}", fault.problem);
    }
}

#[test]
fn what_is_baked_into_an_image_is_not_the_deployers_word() {
    let mut container = container([("meshdog.orders.port", "8080"), ("meshdog.own.port", "81")]);
    container.baked = Arc::new(["meshdog.orders.port".to_owned()].into());
    let offers = of(&container, &[]);
    assert_eq!(names(&offers), ["prod/own"]);
    let [fault] = &offers.faults[..] else { panic!("{offers:?}") };
    assert_eq!(&*fault.label, "meshdog.orders.port");
    assert!(fault.problem.contains("mesh.image_labels"), "{}", fault.problem);

    let offers = super::offers(&container, &[], &MeshSettings { image_labels: true, ..mesh(&[]) }, &node());
    assert_eq!((names(&offers).len(), offers.faults.len()), (2, 0));
    // An image that keeps itself out harms nobody.
    let mut out = self::container([("meshdog.own.port", "81"), ("meshdog.enable", "false")]);
    out.baked = Arc::new(["meshdog.enable".to_owned()].into());
    assert!(of(&out, &[]).endpoints.is_empty());
}

#[test]
fn an_unknown_key_is_a_fault_and_the_service_stays() {
    let offers = of(&container([("meshdog.web.port", "80"), ("meshdog.web.wieght", "3")]), &[]);
    assert_eq!(names(&offers), ["prod/web"]);
    assert!(offers.faults[0].problem.contains("did you mean weight?"), "{:?}", offers.faults);

    let offers = of(&container([("meshdog.web.prot", "80")]), &[]);
    let problems: Vec<&str> = offers.faults.iter().map(|fault| &*fault.problem).collect();
    assert!(problems[0].contains("did you mean port?"), "{problems:?}");
    assert!(problems[1].contains("is missing"), "{problems:?}");
    assert!(offers.why_not.unwrap().contains("faults"));
}

#[test]
fn labels_that_only_look_like_ours_are_faults_or_nothing() {
    let offers = of(
        &container([("meshdog.web.port", "80"), ("meshdog", "x"), ("meshdogs.a.port", "1"), ("meshdog.enabled", "x")]),
        &[],
    );
    assert_eq!(names(&offers), ["prod/web"]);
    let labels: Vec<_> = offers.faults.iter().map(|fault| &*fault.label).collect();
    assert_eq!(labels, ["meshdogs.a.port", "meshdog.enabled"]);
    for label in ["meshdgo.orders.port", "meshdog.port"] {
        let offers = of(&container([(label, "80")]), &[]);
        assert_eq!((&*offers.faults[0].label, offers.faults.len()), (label, 1));
        assert!(offers.why_not.unwrap().contains("see its faults"), "{label}");
    }

    for name in ["", "-a", "A", "a.b", "é"] {
        let offers = of(&container([(format!("meshdog.{name}.port").as_str(), "80"), ("meshdog.ok.port", "1")]), &[]);
        assert_eq!(names(&offers), ["prod/ok"], "{name}");
        assert!(!offers.faults.is_empty(), "{name}");
    }
}

#[test]
fn what_the_nodes_budget_has_no_room_for_is_named_and_costs_nothing_else() {
    let mut over = container([("meshdog.a.port", "80"), ("meshdog.b.port", "81"), ("meshdog.c.port", "82")]);
    over.admitted = 1;
    let offers = of(&over, &[]);
    assert_eq!(names(&offers), ["prod/a"]);
    let faults: Vec<_> = offers.faults.iter().map(|fault| &*fault.label).collect();
    assert_eq!(faults, ["meshdog.b", "meshdog.c"]);
    assert!(offers.faults[0].problem.contains("more names than it has room for"), "{:?}", offers.faults);
    // What the operator's rules make is not the labels' matter.
    over.admitted = 0;
    let any = Match { image: Some(Glob::new("*")), ..Match::default() };
    assert_eq!(names(&of(&over, &[rule("orders", any)])), ["prod/orders"]);
}

#[test]
fn a_service_costs_as_many_names_as_it_asks_for() {
    let costs = |labels: &[(&str, &str)], image_labels| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        name_costs(&labels, &["meshdog.b.port".to_owned()].into(), image_labels).to_vec()
    };
    let labels = [("meshdog.a.port", "1"), ("meshdog.a.alias", "a:1,a:2, a:3"), ("meshdog.b.port", "1"), ("x", "y")];
    assert_eq!(costs(&labels, false), [3]);
    assert_eq!(costs(&labels, true), [3, 1]);
    assert!(costs(&[("meshdog.a.port", "1"), ("meshdog.enable", "false")], true).is_empty());
    assert_eq!(costs(&[("meshdog.a.alias", &"a:1,".repeat(9000))], true), [MAX_ALIASES]);
    let many: Vec<String> = (0..9000).map(|n| format!("meshdog.s{n}.port")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|label| (label.as_str(), "80")).collect();
    assert_eq!(costs(&many, true).len(), MAX_SERVICES);
}

#[test]
fn enable_false_keeps_labels_and_rules_out() {
    let any = Match { image: Some(Glob::new("*")), ..Match::default() };
    let labels = [("meshdog.web.port", "80"), ("meshdog.enable", "false")];
    let offers = of(&container(labels), &[rule("orders", any.clone())]);
    assert!(offers.endpoints.is_empty() && offers.why_not.unwrap().contains("meshdog.enable=false"));

    let labels = [("meshdog.web.port", "80"), ("meshdog.enable", "no")];
    let offers = of(&container(labels), &[]);
    assert_eq!((names(&offers).len(), offers.faults.len()), (1, 1));
}

#[test]
fn rules_match_what_they_name_and_labels_win() {
    let ecs = [
        ("com.amazonaws.ecs.task-definition-family", "orders-task"),
        ("com.amazonaws.ecs.container-name", "web"),
        ("tier", "front"),
    ];
    let glob = |pattern: &str| Some(Glob::new(pattern));
    let all = Match {
        family: glob("orders-*"),
        container: glob("we?"),
        image: glob("shop/*"),
        labels: vec![("tier".into(), Glob::new("f*"))],
    };
    let offers =
        of(&container(ecs), &[rule("x", Match { family: glob("other"), ..all.clone() }), rule("orders", all.clone())]);
    assert_eq!(names(&offers), ["prod/orders"]);
    assert_eq!(offers.endpoints[0].origin, OfferOrigin::Rule(1));
    assert_eq!(aliases_of(&offers.endpoints[0]), ["orders:80"]);
    for broken in [
        Match { family: glob("nope"), ..all.clone() },
        Match { container: glob("web-1"), ..all.clone() },
        Match { image: glob("web"), ..all.clone() },
        Match { labels: vec![("missing".into(), Glob::new("*"))], ..all.clone() },
        Match::default(),
    ] {
        let offers = of(&container(ecs), &[rule("orders", broken.clone())]);
        assert!(offers.endpoints.is_empty(), "{broken:?}");
        assert!(offers.why_not.unwrap().contains("no [[service]] rule matches"));
    }
    // Without ECS the Docker name counts.
    let offers = of(&container([]), &[rule("orders", Match { container: glob("web-*"), ..Match::default() })]);
    assert_eq!(names(&offers), ["prod/orders"]);

    let labels = ecs.into_iter().chain([("meshdog.orders.port", "9")]);
    let offers = of(&container(labels), &[rule("orders", all.clone())]);
    assert_eq!(offers.endpoints.len(), 1);
    assert_eq!(offers.endpoints[0].origin, OfferOrigin::Labels);
    // Even a label that cannot be read says that the container speaks for itself.
    let labels = ecs.into_iter().chain([("meshdog.orders.port", "x")]);
    assert!(of(&container(labels), &[rule("orders", all)]).endpoints.is_empty());
}

#[test]
fn two_rules_for_one_port_of_one_service_are_one_endpoint() {
    let any = Match { image: Some(Glob::new("*")), ..Match::default() };
    let offers = of(&container([]), &[rule("orders", any.clone()), rule("orders", any)]);
    assert_eq!(offers.endpoints.len(), 1);
    assert_eq!(offers.endpoints[0].origin, OfferOrigin::Rule(0));
}

#[test]
fn the_network_decides_the_address() {
    let labels = [("meshdog.web.port", "80")];
    let host = Container { network: Network::Host { ports: [].into() }, ..container(labels) };
    assert_eq!(of(&host, &[]).endpoints[0].endpoint.addresses.first().to_string(), "10.0.1.5:80");

    let none = Container { network: Network::Unsupported("its network mode is none".into()), ..container(labels) };
    assert!(of(&none, &[]).why_not.unwrap().contains("network mode is none"));
}

#[test]
fn a_pause_container_is_never_an_endpoint() {
    for name in ["~internal~ecs~pause", "~internal~ecs~pause-web"] {
        let container = container([("com.amazonaws.ecs.container-name", name), ("meshdog.web.port", "80")]);
        let offers = of(&container, &[rule("x", Match { image: Some(Glob::new("*")), ..Match::default() })]);
        assert!(offers.endpoints.is_empty() && offers.why_not.unwrap().contains("pause"));
    }
}

#[test]
fn an_alias_that_is_not_a_labels_to_claim_is_left_out_and_named() {
    let alias = "orders:80,ecs.us-west-2.amazonaws.com:443,db.corp.example:5432";
    let labels = [("meshdog.orders.port", "8080"), ("meshdog.orders.alias", alias)];
    let offers = of(&container(labels), &[]);
    assert_eq!(aliases_of(&offers.endpoints[0]), ["orders:80"]);
    let problems: Vec<&str> = offers.faults.iter().map(|fault| &*fault.problem).collect();
    assert!(problems[0].contains("ecs.us-west-2.amazonaws.com") && problems[1].contains("db.corp.example"));
    assert!(offers.faults.iter().all(|fault| &*fault.label == "meshdog.orders.alias"), "{problems:?}");

    let allowed = super::offers(&container(labels), &[], &mesh(&["*.corp.example"]), &node());
    assert_eq!(aliases_of(&allowed.endpoints[0]), ["orders:80", "db.corp.example:5432"]);

    // With none left it is dialled as a service that names none.
    let labels = [("meshdog.orders.port", "8080"), ("meshdog.orders.alias", "localhost:80,ip-10-0-1-5:80")];
    let node = Node { hosts: ["ip-10-0-1-5".into()].into(), ..node() };
    let offers = super::offers(&container(labels), &[], &mesh(&[]), &node);
    assert_eq!((aliases_of(&offers.endpoints[0]), offers.faults.len()), (vec!["orders.prod:8080".to_owned()], 2));
}

#[test]
fn the_operators_rules_may_claim_any_alias() {
    let mut rule = rule("ecs", Match { image: Some(Glob::new("*")), ..Match::default() });
    rule.alias = vec!["ecs.us-west-2.amazonaws.com:443".parse().unwrap()];
    let offers = of(&container([]), &[rule]);
    assert_eq!((aliases_of(&offers.endpoints[0]).len(), offers.faults.len()), (1, 0));
}

#[test]
fn sizes_are_bounded() {
    let labels: Vec<(String, String)> =
        (0..9000).map(|i| (format!("meshdog.s{i}.port"), (i % 60_000 + 1).to_string())).collect();
    let offers = of(&container(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))), &[]);
    assert_eq!(offers.endpoints.len(), MAX_SERVICES);
    assert_eq!((offers.faults.len(), offers.more_faults), (MAX_FAULTS, 9000 - MAX_SERVICES - MAX_FAULTS));

    let many = (0..=MAX_ALIASES).map(|i| format!("a{i}:80")).collect::<Vec<_>>();
    let labels = |text: String| container([("meshdog.web.port", "80"), ("meshdog.web.alias", &text)]);
    assert!(of(&labels(many.join(",")), &[]).endpoints.is_empty());
    assert_eq!(of(&labels(many[1..].join(",")), &[]).endpoints[0].endpoint.aliases.len(), MAX_ALIASES);

    let long = "x".repeat(1 << 20);
    let offers = of(&container([("meshdog.web.port", long.as_str()), (&format!("meshdog.{long}"), "")]), &[]);
    assert!(offers.faults.iter().all(|fault| fault.label.len() <= 160 && fault.problem.len() <= 512));
    assert_eq!(offers.faults.len(), 2);
}

#[test]
fn five_thousand_services_of_one_container() {
    let any = Match { image: Some(Glob::new("*")), ..Match::default() };
    let rules: Vec<ServiceRule> = (0..5000).map(|i| rule(&format!("s{i}"), any.clone())).collect();
    let offers = of(&container([]), &rules);
    assert_eq!((offers.endpoints.len(), offers.faults.len()), (5000, 0));
}

#[test]
fn an_endpoint_is_published_where_the_rest_of_the_world_reaches_it() {
    let port = |port: u16| NonZeroU16::new(port).unwrap();
    let on = |l4, host_ip: Option<[u8; 4]>, host| PublishedPort {
        port: port(8080),
        l4,
        host_ip: host_ip.map(Into::into),
        host_port: port(host),
    };
    let published = |network| {
        let container = Container { network, ..container([("meshdog.orders.port", "8080")]) };
        of(&container, &[]).endpoints[0].endpoint.addresses.published().map(|at| at.first().to_string())
    };
    let bridge = |ports: &[PublishedPort]| Network::Bridge {
        address: DualStack::V4([172, 17, 0, 3].into()),
        published: ports.into(),
    };
    assert_eq!(published(bridge(&[])), None, "a port that is not published is this node's alone");
    assert_eq!(published(bridge(&[on(L4::Tcp, None, 32768)])).as_deref(), Some("10.0.1.5:32768"));
    let elsewhere = [on(L4::Udp, None, 1), on(L4::Tcp, Some([10, 0, 9, 9]), 2)];
    assert_eq!(published(bridge(&elsewhere)), None, "another transport, another address of the host");
    assert_eq!(published(bridge(&[on(L4::Tcp, Some([10, 0, 1, 5]), 3)])).as_deref(), Some("10.0.1.5:3"));
    assert_eq!(published(Network::Host { ports: Arc::default() }).as_deref(), Some("10.0.1.5:8080"));
}

#[test]
fn labels_of_the_container_itself_are_no_services() {
    let faults = |label: &str, value: &str| {
        let faults = of(&container([(label, value), ("meshdog.orders.port", "8080")]), &[]).faults;
        faults.iter().map(|fault| format!("{}: {}", fault.label, fault.problem)).collect::<Vec<_>>().join(", ")
    };
    for (label, value) in [("meshdog.dns", "false"), ("meshdog.dns", "true"), ("meshdog.dial", "pay, shared/bill")] {
        assert_eq!(faults(label, value), "", "{label}={value}");
    }
    assert_eq!(faults("meshdog.dns", "no"), "meshdog.dns: \"no\" is neither true nor false; ignored");
    assert!(faults("meshdog.dial", "pay,").starts_with("meshdog.dial: discovery name is empty"));
    for reserved in ["enable", "dns", "dial"] {
        let label = format!("meshdog.{reserved}.port");
        let found = faults(&label, "80");
        assert_eq!(found, format!("{label}: meshdog.{reserved} is about the container; name the service otherwise"));
    }
}
