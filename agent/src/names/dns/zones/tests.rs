use hickory_proto::rr::RecordType;

use super::*;

fn vip() -> DualStack {
    DualStack::V4([240, 240, 0, 7].into())
}

/// What is known: `orders` and `orders.prod`, `web.eu.shop`, and a claim to a name of others.
fn served() -> Served {
    let names = ["orders", "orders.prod", "web.eu.shop", "ecs.us-west-2.amazonaws.com", "prod"];
    let service = crate::model::ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() };
    Served {
        names: names.iter().map(|name| (name.parse().unwrap(), vip())).collect(),
        holders: imbl::OrdMap::unit(IpAddr::from([240, 240, 0, 7]), service),
    }
}

fn zones(authoritative: bool) -> Zones {
    let namespaces: [Namespace; 2] = ["prod".parse().unwrap(), "eu.shop".parse().unwrap()];
    Zones::new(&namespaces, authoritative, VipRanges::default())
}

fn ask(zones: &Zones, asker: Asker, name: &str, served: Option<&Served>) -> Standing {
    zones.standing(asker, &Query::query(Name::from_ascii(name).unwrap(), RecordType::A), served)
}

fn absent(zone: &str) -> Standing {
    Standing::Absent(Name::from_ascii(zone).unwrap())
}

#[test]
fn containers_get_every_name_and_the_host_those_below_the_meshs_namespaces() {
    let (zones, served) = (zones(false), served());
    for name in ["orders.prod.", "ORDERS.Prod.", "web.eu.shop."] {
        for asker in [Asker::Container, Asker::Host] {
            assert_eq!(ask(&zones, asker, name, Some(&served)), Standing::Vips(vip()), "{name} {asker:?}");
        }
    }
    for name in ["orders.", "ecs.us-west-2.amazonaws.com."] {
        assert_eq!(ask(&zones, Asker::Container, name, Some(&served)), Standing::Vips(vip()), "{name}");
        assert_eq!(ask(&zones, Asker::Host, name, Some(&served)), Standing::Foreign, "{name} is not the host's");
    }
    assert_eq!(ask(&zones, Asker::Host, "prod.", Some(&served)), Standing::Empty, "an alias outside of the namespace");
}

#[test]
fn unknown_names_are_absent_where_they_are_ours_alone_and_others_business_elsewhere() {
    let served = served();
    for asker in [Asker::Container, Asker::Host] {
        for name in ["nobody.prod.", "x.orders.prod.", "_http._tcp.Prod.", "xn--odd.prod."] {
            assert_eq!(ask(&zones(false), asker, name, Some(&served)), absent("prod."), "{name}");
        }
        for name in ["nobody.eu.shop.", "eu.shop.", "shop.", "nobody.", "x.orders.", "example.com.", "."] {
            assert_eq!(ask(&zones(false), asker, name, Some(&served)), Standing::Foreign, "{name}");
        }
        assert_eq!(ask(&zones(true), asker, "nobody.eu.shop.", Some(&served)), absent("eu.shop."));
        assert_eq!(ask(&zones(true), asker, "eu.shop.", Some(&served)), Standing::Empty);
        assert_eq!(ask(&zones(true), asker, "nobody.shop.", Some(&served)), Standing::Foreign);
    }
}

#[test]
fn before_anything_is_known_ours_alone_is_unknown_and_the_rest_others_business() {
    let zones = zones(false);
    for name in ["orders.prod.", "7.0.240.240.in-addr.arpa."] {
        assert_eq!(ask(&zones, Asker::Container, name, None), Standing::Unknown, "{name}");
    }
    for name in ["orders.", "web.eu.shop.", "example.com."] {
        assert_eq!(ask(&zones, Asker::Container, name, None), Standing::Foreign, "{name}");
    }
}

#[test]
fn the_reverse_of_a_vip_never_leaves_the_node() {
    let (zones, served) = (zones(false), served());
    let reverse = |name: &str| ask(&zones, Asker::Container, name, Some(&served));
    assert_eq!(reverse("7.0.240.240.In-Addr.ARPA."), Standing::Pointer("orders.prod".parse().unwrap()));
    assert_eq!(reverse("8.0.240.240.in-addr.arpa."), absent("0.240.240.in-addr.arpa."));
    let six = IpAddr::V6(Ipv6Addr::from(0xfd6d_6573_6864_u128 << 80 | 9));
    assert!(VipRanges::default().contains(six));
    assert!(matches!(reverse(&Name::from(six).to_ascii()), Standing::Absent(_)));
    for foreign in
        ["4.3.2.1.in-addr.arpa.", "0.240.240.in-addr.arpa.", "7.0.240.240.example.", "300.0.240.240.in-addr.arpa."]
    {
        assert_eq!(reverse(foreign), Standing::Foreign, "{foreign}");
    }
}

#[test]
fn other_classes_and_labels_with_dots_are_others_business() {
    let (zones, served) = (zones(false), served());
    let mut chaos = Query::query(Name::from_ascii("orders.prod.").unwrap(), RecordType::TXT);
    chaos.query_class = DNSClass::CH;
    assert_eq!(zones.standing(Asker::Container, &chaos, Some(&served)), Standing::Foreign);
    let dotted = Query::query(Name::from_labels([b"web.eu".as_slice(), b"shop"]).unwrap(), RecordType::A);
    assert_eq!(zones.standing(Asker::Container, &dotted, Some(&served)), Standing::Foreign);
}
