use proptest::prelude::*;

use super::*;

fn service(n: u32) -> ServiceId {
    ServiceId { namespace: "prod".parse().unwrap(), name: format!("s{n}").parse().unwrap() }
}

fn ranges(v4: &str) -> VipRanges {
    VipRanges::new(v4.parse().unwrap(), Some(VipRanges::DEFAULT_V6)).unwrap()
}

fn vips(range: &str) -> Vips {
    Vips::new(ranges(range), &Remembered::default())
}

#[test]
fn a_vip_is_kept_over_restarts_even_where_two_names_meet() {
    let mut first = vips("198.19.0.0/26");
    let given: Vec<_> = (0..50).map(|n| first.assign(&service(n), Family::V4, |_| true).unwrap()).collect();
    let text = serde_json::to_string(&first.remembered()).unwrap();
    let mut second = Vips::new(ranges("198.19.0.0/26"), &serde_json::from_str(&text).unwrap());
    for n in (0..50).rev() {
        assert_eq!(second.assign(&service(n), Family::V4, |_| true), Some(given[n as usize]));
    }
}

#[test]
fn without_memory_most_services_still_find_their_vip_again() {
    let mut first = vips("198.19.0.0/16");
    let mut second = vips("198.19.0.0/16");
    let given: Vec<_> = (0..1000).map(|n| first.assign(&service(n), Family::V4, |_| true)).collect();
    let again =
        (0..1000).rev().filter(|&n| second.assign(&service(n), Family::V4, |_| true) == given[n as usize]).count();
    assert!(again > 950, "{again}");
}

#[test]
fn a_full_range_makes_room_only_at_the_expense_of_the_dead() {
    let mut vips = vips("198.19.0.0/28");
    for n in 0..13 {
        assert!(vips.assign(&service(n), Family::V4, |_| true).is_some());
    }
    assert_eq!(vips.assign(&service(13), Family::V4, |_| true), None);
    let dead = service(4);
    let freed = vips.assign(&dead, Family::V4, |_| true);
    assert_eq!(vips.assign(&service(13), Family::V4, |s| *s != dead), freed);
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
    let v4 = first.assign(&service(1), Family::V4, |_| true).unwrap();
    assert_eq!(serde_json::to_string(&first.remembered()).unwrap(), format!(r#"{{"vips":{{"prod/s1":"{v4}"}}}}"#));
    let v6 = first.assign(&service(1), Family::V6, |_| true).unwrap();
    assert!(v4.is_ipv4() && v6.is_ipv6());
    assert!([v4, v6].iter().all(|vip| first.holder(*vip) == Some(&service(1))));
    let mut second = Vips::new(ranges("198.19.0.0/16"), &first.remembered());
    assert_eq!(Family::ALL.map(|family| second.assign(&service(1), family, |_| true)), [Some(v4), Some(v6)]);
    assert_eq!(second.generation(), 0);
    let mut without = Vips::new(ranges("198.19.0.0/16").only_v4(), &first.remembered());
    assert_eq!(without.assign(&service(1), Family::V6, |_| true), None);
}

proptest! {
    #[test]
    fn vips_are_of_the_range_and_never_shared(numbers in prop::collection::btree_set(0u32..10_000, 0..200)) {
        let mut vips = vips("198.19.0.0/24");
        let given: Vec<_> = numbers.iter().filter_map(|&n| vips.assign(&service(n), Family::V4, |_| true)).collect();
        let range: VipCidr = "198.19.0.0/24".parse().unwrap();
        prop_assert!(given.iter().all(|&vip| range.holds(vip)));
        prop_assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
    }
}
