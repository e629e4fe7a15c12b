use super::*;

#[test]
fn vips_stay_clear_of_the_network_the_resolver_and_the_broadcast_address() {
    let range: VipCidr = "198.19.0.0/28".parse().unwrap();
    assert_eq!(range.resolver().to_string(), "198.19.0.1");
    assert_eq!(range.capacity(), 13);
    let vips: std::collections::BTreeSet<_> = (0..range.capacity()).map(|i| range.nth(i)).collect();
    assert_eq!(vips.len(), 13);
    assert!(vips.iter().all(|&vip| range.holds(vip)));
    for other in ["198.19.0.0", "198.19.0.1", "198.19.0.15", "198.19.0.16", "198.18.255.255"] {
        assert!(!range.holds(other.parse().unwrap()), "{other}");
    }
}

#[test]
fn ranges_that_cannot_work_are_refused() {
    for bad in
        ["", "198.19.0.0", "127.255.0.0/16", "169.254.0.0/16", "224.0.0.0/8", "10.0.0.0/30", "0.0.0.0/0", "::/96"]
    {
        assert!(bad.parse::<VipCidr>().is_err(), "{bad}");
    }
}

#[test]
fn interface_names_are_bounded() {
    assert!(IfName::new("docker0").is_some());
    for bad in ["", "a/b", "a b", "..", "sixteen-bytes-xx"] {
        assert!(IfName::new(bad).is_none(), "{bad}");
    }
}
