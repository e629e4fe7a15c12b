use crate::mesh::desired::Mesh;
use crate::mesh::desired::tests::{dial, endpoint, frontends, inputs, settings};
use crate::mesh::known::KNOWN_FOR;
use crate::mesh::snapshot::MeshSnapshot;
use crate::mesh::vip::Remembered;
use crate::model::{AliasName, Desired, Endpoint, L4, View};

#[test]
fn a_service_is_known_for_an_hour_after_its_last_endpoint_and_refuses() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let orders = endpoint("prod/orders", 1, "tcp", &["orders:80"], 10);
    let at = |now: u64, endpoints: &[Endpoint]| MeshSnapshot { now, ..inputs(endpoints) };
    let before = mesh.advance(at(0, std::slice::from_ref(&orders)));
    let gone = mesh.advance(at(60, &[]));
    assert_eq!((&gone.names, &gone.holders), (&before.names, &before.holders));
    assert!(frontends(&gone, View::Node).is_empty() && gone.served.is_empty(), "its VIP refuses");
    let known = gone.services.values().next().expect("its series stay");
    assert_eq!((known.endpoints.len(), known.slots, known.aliases.len()), (0, 0, 1));
    assert!(known.why.as_ref().is_some_and(|why| why.contains("no endpoint")));
    assert_eq!(mesh.next_forgotten(), Some(60 + KNOWN_FOR));

    let back = mesh.advance(at(120, std::slice::from_ref(&orders)));
    assert_eq!((&back.names, mesh.next_forgotten()), (&before.names, None));
    assert_eq!(dial(&back, "orders:80", L4::Tcp), [1]);

    mesh.advance(at(180, &[]));
    let late = mesh.advance(at(179 + KNOWN_FOR, &[]));
    assert_eq!(late.names, before.names);
    let forgotten = mesh.advance(at(180 + KNOWN_FOR, &[]));
    assert!(forgotten.names.is_empty() && forgotten.services.is_empty() && forgotten.holders.is_empty());
}

#[test]
fn a_service_without_endpoints_gives_way_to_one_that_has_some() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let (blue, green) =
        (endpoint("prod/blue", 1, "tcp", &["web:80"], 10), endpoint("prod/green", 2, "tcp", &["web:80"], 20));
    mesh.advance(inputs(&[blue.clone(), green.clone()]));
    let desired = mesh.advance(inputs(std::slice::from_ref(&green)));
    assert_eq!(dial(&desired, "web:80", L4::Tcp), [2]);
    assert!(desired.conflicts.is_empty(), "{:?}", desired.conflicts);
    assert!(desired.names.contains_key(&"blue.prod".parse::<AliasName>().unwrap()), "its own name stays");
    let again = mesh.advance(inputs(&[Endpoint { started_ms: 30, ..blue }, green]));
    assert_eq!(dial(&again, "web:80", L4::Tcp), [2], "who has it keeps it");
}

fn at(now: u64, endpoints: &[Endpoint]) -> MeshSnapshot {
    MeshSnapshot { now, ..inputs(endpoints) }
}

fn has(desired: &Desired, name: &str) -> bool {
    desired.names.contains_key(&name.parse::<AliasName>().unwrap())
}

/// Another start of the agent, by what this one writes down.
fn restarted(mesh: &Mesh) -> Mesh {
    let text = serde_json::to_string(&mesh.remembered()).unwrap();
    Mesh::new(settings(), &serde_json::from_str(&text).unwrap())
}

#[test]
fn the_half_of_a_service_over_one_transport_goes_as_a_whole_service_does() {
    for (stays, goes) in [("tcp", "udp"), ("udp", "http")] {
        let mut mesh = Mesh::new(settings(), &Remembered::default());
        let (tcp, udp) = (
            endpoint("prod/dns", 1, stays, &["dns:53"], 10),
            endpoint("prod/dns", 2, goes, &["dns:53", "fast:53"], 10),
        );
        let before = mesh.advance(at(0, &[tcp.clone(), udp.clone()]));
        let gone = mesh.advance(at(60, std::slice::from_ref(&tcp)));
        let half = gone.services.get(&(udp.service.clone(), udp.protocol.l4())).expect("its series stay");
        assert_eq!((half.endpoints.len(), half.slots, half.aliases.len()), (0, 0, 2), "{goes}");
        assert!(half.why.as_ref().is_some_and(|why| why.contains("no endpoint")));
        assert_eq!((&gone.names, &gone.holders), (&before.names, &before.holders), "{goes}");
        assert_eq!(dial(&gone, "dns:53", tcp.protocol.l4()), [1]);
        assert!(dial(&gone, "dns:53", udp.protocol.l4()).is_empty());
        assert_eq!(mesh.next_forgotten(), Some(60 + KNOWN_FOR));

        let young = restarted(&mesh).advance(at(70, std::slice::from_ref(&tcp)));
        assert_eq!((&young.names, &young.services, &young.holders), (&gone.names, &gone.services, &gone.holders));

        let back = mesh.advance(at(120, &[tcp.clone(), udp.clone()]));
        assert_eq!((dial(&back, "fast:53", udp.protocol.l4()), mesh.next_forgotten()), (vec![2], None));
        mesh.advance(at(180, std::slice::from_ref(&tcp)));
        let late = mesh.advance(at(180 + KNOWN_FOR, std::slice::from_ref(&tcp)));
        assert_eq!((late.services.len(), mesh.next_forgotten()), (1, None));
        assert!(has(&late, "dns") && !has(&late, "fast"));
    }
}

#[test]
fn the_half_that_goes_leaves_its_port_to_who_serves_it() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let (tcp, udp) = (endpoint("prod/dns", 1, "tcp", &["dns:53"], 10), endpoint("prod/dns", 2, "udp", &["dns:53"], 10));
    let other = endpoint("prod/other", 3, "udp", &["dns:53"], 20);
    let both = mesh.advance(inputs(&[tcp.clone(), udp, other.clone()]));
    assert_eq!(dial(&both, "dns:53", L4::Udp), [2]);
    let desired = mesh.advance(inputs(&[tcp, other]));
    assert_eq!((dial(&desired, "dns:53", L4::Udp), dial(&desired, "dns:53", L4::Tcp)), (vec![3], vec![1]));
}

#[test]
fn a_service_without_endpoints_is_known_over_a_restart_within_its_hour() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let orders = endpoint("prod/orders", 1, "http", &["orders:80"], 10);
    let begun = mesh.generation();
    mesh.advance(at(0, std::slice::from_ref(&orders)));
    let known = mesh.generation();
    assert!(known > begun);
    let gone = mesh.advance(at(60, &[]));
    assert!(mesh.generation() > known, "there is something new to remember");
    let mut young = restarted(&mesh);
    let after = young.advance(at(100, &[]));
    assert_eq!((&after.names, &after.holders, &after.services), (&gone.names, &gone.holders, &gone.services));
    assert!(frontends(&after, View::Node).is_empty() && after.served.is_empty(), "its VIP refuses");
    assert_eq!(young.next_forgotten(), Some(60 + KNOWN_FOR), "a restart does not prolong it");
    let forgotten = young.advance(at(60 + KNOWN_FOR, &[]));
    assert!(forgotten.names.is_empty() && forgotten.services.is_empty() && forgotten.holders.is_empty());

    assert!(restarted(&mesh).advance(at(60 + KNOWN_FOR, &[])).names.is_empty(), "its hour is over");
    let back = restarted(&mesh).advance(at(100, std::slice::from_ref(&orders)));
    assert_eq!(dial(&back, "orders:80", L4::Tcp), [1]);
}

#[test]
fn a_service_whose_last_endpoint_went_while_the_agent_was_away_is_known() {
    let mut mesh = Mesh::new(settings(), &Remembered::default());
    let (orders, other) =
        (endpoint("prod/orders", 1, "http", &["orders:80"], 10), endpoint("prod/other", 2, "tcp", &["other:80"], 10));
    let before = mesh.advance(at(0, &[orders, other.clone()]));
    let mut young = restarted(&mesh);
    let after = young.advance(at(500, std::slice::from_ref(&other)));
    assert_eq!((&after.names, &after.holders), (&before.names, &before.holders));
    assert_eq!(young.next_forgotten(), Some(500 + KNOWN_FOR), "nobody knows when it went");
    assert_eq!(restarted(&young).advance(at(501, &[other])).names, before.names);
}

#[test]
fn what_the_last_release_wrote_is_read() {
    let remembered: Remembered = serde_json::from_str(r#"{"vips":{"prod/orders":"240.240.1.2"}}"#).unwrap();
    let desired = Mesh::new(settings(), &remembered).advance(at(5, &[]));
    assert!(desired.names.is_empty() && desired.services.is_empty());
}
