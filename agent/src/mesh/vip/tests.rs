use proptest::prelude::*;

use super::*;

fn service(n: u32) -> ServiceId {
    ServiceId { namespace: "prod".parse().unwrap(), name: format!("s{n}").parse().unwrap() }
}

fn ranges(v4: &str) -> VipRanges {
    VipRanges::new(v4.parse().unwrap(), Some(VipRanges::DEFAULT_V6)).unwrap()
}

/// Some time, in seconds.
const NOW: u64 = 1_800_000_000;

fn vips(range: &str) -> Vips {
    Vips::new(ranges(range), &Remembered::default())
}

#[test]
fn a_vip_is_kept_over_restarts_even_where_two_names_meet() {
    let mut first = vips("198.19.0.0/26");
    let given: Vec<_> = (0..50).map(|n| first.assign(&service(n), Family::V4, NOW, |_| true).unwrap()).collect();
    let text = serde_json::to_string(&first.remembered()).unwrap();
    let mut second = Vips::new(ranges("198.19.0.0/26"), &serde_json::from_str(&text).unwrap());
    for n in (0..50).rev() {
        assert_eq!(second.assign(&service(n), Family::V4, NOW, |_| true), Some(given[n as usize]));
    }
}

#[test]
fn without_memory_most_services_still_find_their_vip_again() {
    let mut first = vips("198.19.0.0/16");
    let mut second = vips("198.19.0.0/16");
    let given: Vec<_> = (0..1000).map(|n| first.assign(&service(n), Family::V4, NOW, |_| true)).collect();
    let again =
        (0..1000).rev().filter(|&n| second.assign(&service(n), Family::V4, NOW, |_| true) == given[n as usize]).count();
    assert!(again > 950, "{again}");
}

#[test]
fn a_full_range_makes_room_only_at_the_expense_of_the_dead() {
    let mut vips = vips("198.19.0.0/28");
    for n in 0..AVAILABLE {
        assert!(vips.assign(&service(n), Family::V4, NOW, |_| true).is_some());
    }
    assert_eq!(vips.assign(&service(AVAILABLE), Family::V4, NOW, |_| true), None);
    let dead = service(4);
    let freed = vips.assign(&dead, Family::V4, NOW, |_| true);
    assert_eq!(vips.assign(&service(AVAILABLE), Family::V4, NOW, |s| *s != dead), freed);
}

/// How many VIPs services may have of a /28.
const AVAILABLE: u32 = 10;

/// A range without a free address, of which the first of these services left then, the second an hour later, and so on.
fn full(left: u64, gone: u32) -> Vips {
    let mut vips = vips("198.19.0.0/28");
    for n in 0..AVAILABLE {
        assert!(vips.assign(&service(n), Family::V4, NOW, |_| true).is_some());
    }
    for n in 0..gone {
        vips.leave(&service(n), left + u64::from(n) * 3600);
    }
    vips
}

#[test]
fn a_vip_is_its_services_for_a_day_after_its_last_use_where_there_is_any_other_way() {
    let mut vips = full(NOW, 2);
    let live = |service: &ServiceId| !["s0", "s1"].contains(&service.name.as_str());
    let (first, second) = (vips.by_service[&service(0)], vips.by_service[&service(1)]);
    // A day after the first one went.
    assert_eq!(vips.assign(&service(AVAILABLE), Family::V4, NOW + KEPT, live), Some(first.first()));
    assert!(!vips.hurried);
    // The other would have had an hour more. There is no other way.
    assert_eq!(vips.assign(&service(AVAILABLE + 1), Family::V4, NOW + KEPT, live), Some(second.first()));
    assert!(vips.hurried);
    assert_eq!(vips.assign(&service(AVAILABLE + 2), Family::V4, NOW + KEPT, live), None);
}

#[test]
fn when_a_service_left_outlives_a_restart_and_a_clock_that_jumps() {
    let vips = full(NOW, 2);
    let text = serde_json::to_string(&vips.remembered()).unwrap();
    let mut second = Vips::new(ranges("198.19.0.0/28"), &serde_json::from_str(&text).unwrap());
    assert_eq!(second.left, vips.left);
    // Back again: it is in use.
    second.assign(&service(0), Family::V4, NOW, |_| true);
    assert_eq!((second.left.len(), second.generation()), (1, 1));
    second.leave(&service(0), NOW);
    // A clock that was put back keeps nobody for ever: the day begins anew.
    let live = |service: &ServiceId| service.name.as_str() != "s1" && service.name.as_str() != "s0";
    let past = NOW - 10 * KEPT;
    second.assign(&service(AVAILABLE), Family::V4, past, live);
    assert!(second.left.values().all(|left| *left <= past));
    // Who was there when the agent ended and is not any more has only just gone.
    let mut third = Vips::new(ranges("198.19.0.0/28"), &full(NOW, 0).remembered());
    third.leave_unless(NOW, live);
    assert_eq!(third.left.len(), 2);
}

#[test]
fn a_spoilt_memory_is_harmless() {
    let text = r#"{"vips":{"prod/a":"198.19.0.9","prod/b":"198.19.0.9","prod/c":"10.0.0.1","nonsense":"198.19.0.10","A/b":"198.19.0.11"}}"#;
    let vips = Vips::new(ranges("198.19.0.0/16"), &serde_json::from_str(text).unwrap());
    assert_eq!(vips.remembered().vips.keys().collect::<Vec<_>>(), ["prod/a"]);
}

#[test]
fn a_service_has_a_vip_of_each_family_that_it_is_asked_for_and_keeps_both() {
    let mut first = vips("198.19.0.0/16");
    let v4 = first.assign(&service(1), Family::V4, NOW, |_| true).unwrap();
    assert_eq!(serde_json::to_string(&first.remembered()).unwrap(), format!(r#"{{"vips":{{"prod/s1":"{v4}"}}}}"#));
    let v6 = first.assign(&service(1), Family::V6, NOW, |_| true).unwrap();
    assert!(v4.is_ipv4() && v6.is_ipv6());
    assert!([v4, v6].iter().all(|vip| first.holder(*vip) == Some(&service(1))));
    let mut second = Vips::new(ranges("198.19.0.0/16"), &first.remembered());
    assert_eq!(Family::ALL.map(|family| second.assign(&service(1), family, NOW, |_| true)), [Some(v4), Some(v6)]);
    assert_eq!(second.generation(), 0);
    let mut without = Vips::new(ranges("198.19.0.0/16").only_v4(), &first.remembered());
    assert_eq!(without.assign(&service(1), Family::V6, NOW, |_| true), None);
}

proptest! {
    #[test]
    fn vips_are_of_the_range_and_never_shared(numbers in prop::collection::btree_set(0u32..10_000, 0..200)) {
        let mut vips = vips("198.19.0.0/24");
        let given: Vec<_> = numbers.iter().filter_map(|&n| vips.assign(&service(n), Family::V4, NOW, |_| true)).collect();
        let range: VipCidr = "198.19.0.0/24".parse().unwrap();
        prop_assert!(given.iter().all(|&vip| range.holds(vip)));
        prop_assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
    }
}
