use super::*;

#[test]
fn the_last_services_are_the_answered_ones() {
    let services = Services::new(10);
    let ruleset = services.ruleset().unwrap();
    assert_eq!(ruleset.frontends.len(), 10);
    let targets = services.targets().unwrap();
    assert_eq!(targets.len(), 4);
    for (frontend, slots) in &ruleset.frontends {
        let vip = frontend.address();
        let live = targets.iter().any(|target| SocketAddr::V4(*target) == vip);
        assert_eq!(live, slots.as_ref() == ENDPOINTS.map(SocketAddr::V4), "{vip}");
    }
    assert_eq!(targets.first().unwrap().to_string(), format!("{}:80", Services::vip_cidr().unwrap().nth(9)));
}

#[test]
fn no_endpoint_of_an_idle_service_stands_behind_two() {
    let ruleset = Services::new(1000).ruleset().unwrap();
    let all: Vec<_> = ruleset
        .frontends
        .values()
        .flat_map(|slots| slots.iter())
        .filter(|e| !ENDPOINTS.map(SocketAddr::V4).contains(e))
        .collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (996 * 4, 996 * 4));
}

#[test]
fn iptables_draws_every_endpoint_alike() {
    let text = Services::new(1).iptables().unwrap();
    let draws: Vec<_> = text.lines().filter(|line| line.starts_with("-A SVC-0") && line.contains("SEP")).collect();
    let [first, second, third, fourth] = draws.as_slice() else { panic!("{draws:?}") };
    assert!(first.contains("--probability 0.2500000000"), "{first}");
    assert!(second.contains("--probability 0.3333333333"), "{second}");
    assert!(third.contains("--probability 0.5000000000"), "{third}");
    assert!(!fourth.contains("statistic"), "{fourth}");
}
