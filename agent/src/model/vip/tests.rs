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
    for bad in [
        "",
        "198.19.0.0",
        "127.255.0.0/16",
        "169.254.0.0/16",
        "224.0.0.0/8",
        "255.255.0.0/16",
        "10.0.0.0/30",
        "0.0.0.0/0",
        "::/96",
    ] {
        assert!(bad.parse::<VipCidr>().is_err(), "{bad}");
    }
    assert!(VipCidr::parse_v4("240.240.0.0/16").is_ok_and(|range| range == VipCidr::default()));
    assert!(VipCidr::parse_v4("fd00::/108").is_err() && VipCidr::parse_v6("198.19.0.0/16").is_err());
}

#[test]
fn vips_of_either_family_follow_the_same_rules() {
    let range: VipCidr = "fd6d:6573:6864::/120".parse().unwrap();
    assert_eq!((range.resolver().to_string().as_str(), range.capacity()), ("fd6d:6573:6864::1", 253));
    assert!((0..253).all(|i| range.holds(range.nth(i))));
    assert_eq!(range.nth(253), range.nth(0));
    for other in ["fd6d:6573:6864::", "fd6d:6573:6864::1", "fd6d:6573:6864::ff", "fd6d:6573:6864::100", "198.19.0.2"] {
        assert!(!range.holds(other.parse().unwrap()), "{other}");
    }
    let wide: VipCidr = "fd6d:6573:6864::/48".parse().unwrap();
    assert!(wide.capacity() == u32::MAX && wide.holds(wide.nth(u32::MAX - 1)));
}

#[test]
fn there_is_at_most_one_range_of_each_family() {
    let (v4, v6) = (VipCidr::default(), VipRanges::DEFAULT_V6);
    let ranges = VipRanges::new(v4, Some(v6)).unwrap();
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [v4, v6]);
    assert!(ranges.contains(v6.nth(0)) && !ranges.only_v4().contains(v6.nth(0)));
    assert!(VipRanges::new(v6, None).is_none() && VipRanges::new(v4, Some(v4)).is_none());
}

#[test]
fn vantages_lie_in_the_end_of_the_range_and_leave_services_the_rest() {
    for (range, available, vantages, last) in [
        ("240.240.0.0/16", 65_533 - 63, 31, "240.240.255.222 240.240.255.254"),
        ("10.99.0.0/24", 253 - 15, 7, "10.99.0.246 10.99.0.254"),
        ("198.19.0.0/28", 10, 1, "198.19.0.12 198.19.0.14"),
    ] {
        let range: VipCidr = range.parse().unwrap();
        let free = (0..range.capacity()).filter(|n| !range.reserved().contains(&range.nth(*n))).count();
        assert_eq!((range.available() as usize, free), (available, available), "{range}");
        let all: Vec<Vantage> = range.vantages().collect();
        let held = |address| range.holds(address) && range.reserved().contains(&address);
        assert!(all.len() == vantages && all.iter().all(|one| held(one.address) && held(one.vip)), "{all:?}");
        let end = all.last().unwrap();
        assert_eq!(format!("{} {}", end.address, end.vip), last);
    }
}
