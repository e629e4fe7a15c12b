use super::*;

fn names(names: &[&str]) -> OrdSet<IfName> {
    names.iter().filter_map(|name| IfName::new(name)).collect()
}

fn assigned(before: &OrdMap<IfName, Vantage>, bridges: &[&str], range: VipCidr) -> OrdMap<IfName, Vantage> {
    assign(before, &names(bridges), range, |_| None)
}

#[test]
fn a_bridge_keeps_its_vantage_and_no_two_have_the_same() {
    let range = VipCidr::default();
    let first = assigned(&OrdMap::new(), &["docker0", "br-1"], range);
    let then = assigned(&first, &["br-0", "docker0", "br-2"], range);
    let of = |all: &OrdMap<IfName, Vantage>, name| all.get(&IfName::new(name).unwrap()).copied().unwrap();
    assert_eq!(of(&first, "docker0"), of(&then, "docker0"));
    let mut addresses: Vec<IpAddr> = then.values().flat_map(|vantage| [vantage.address, vantage.vip]).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
    assert!(addresses.iter().all(|address| range.reserved().contains(address)));
}

#[test]
fn what_a_service_has_is_left_to_it() {
    let (range, service) = (VipCidr::default(), ServiceId::first());
    let all: Vec<Vantage> = range.vantages().take(3).collect();
    let held = [all[0].vip, all[1].address];
    let given = assign(&OrdMap::new(), &names(&["docker0"]), range, |vip| held.contains(&vip).then_some(&service));
    assert_eq!(given.values().collect::<Vec<_>>(), [&all[2]]);
}

#[test]
fn bridges_beyond_the_last_vantage_have_none() {
    let range: VipCidr = "10.255.0.0/28".parse().unwrap();
    assert_eq!(range.vantages().count(), 1);
    assert_eq!(assigned(&OrdMap::new(), &["br-0", "br-1", "br-2"], range).len(), 1);
}
