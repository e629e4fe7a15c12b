use super::*;

#[test]
fn names_follow_service_connect() {
    for good in ["a", "orders", "orders_v2", "0-9", "_x", &"a".repeat(64)] {
        assert!(good.parse::<DiscoveryName>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "Orders", "a.b", "a b", "é", "a/b", "a\n", &"a".repeat(65)] {
        assert!(bad.parse::<DiscoveryName>().is_err(), "{bad}");
    }
    assert!("orders.prod.internal".parse::<AliasName>().is_ok());
    for bad in [".a", "a.", "a..b", &format!("{}.a", "x".repeat(64)), &"a.".repeat(64)] {
        assert!(bad.parse::<AliasName>().is_err(), "{bad}");
    }
}

#[test]
fn aliases_need_a_name_and_a_port() {
    let alias: Alias = "orders.prod:80".parse().unwrap();
    assert_eq!((alias.name.as_str(), alias.port.get()), ("orders.prod", 80));
    for bad in ["orders", "orders:", "orders:0", "orders:65536", "orders:+80", ":80", "orders:80:", "orders: 80"] {
        assert!(bad.parse::<Alias>().is_err(), "{bad}");
    }
}

#[test]
fn a_service_has_a_qualified_name() {
    let id = ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() };
    assert_eq!(id.qualified().unwrap().as_str(), "orders.prod");
    assert_eq!(id.to_string(), "prod/orders");
}
