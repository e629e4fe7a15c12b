use super::*;

#[test]
fn two_stacks_are_written_as_one_address_or_as_a_list() {
    let (v4, v6): (IpAddr, IpAddr) = ("198.19.0.2".parse().unwrap(), "fd6d::2".parse().unwrap());
    assert_eq!(DualStack::collect([]), None);
    for (addresses, text) in
        [(vec![v4], r#""198.19.0.2""#), (vec![v6], r#""fd6d::2""#), (vec![v6, v4], r#"["198.19.0.2","fd6d::2"]"#)]
    {
        let both = DualStack::collect(addresses.clone()).unwrap();
        assert_eq!(serde_json::to_string(&both).unwrap(), text);
        assert_eq!(serde_json::from_str::<DualStack>(text).unwrap(), both);
        assert_eq!(both.iter().collect::<std::collections::BTreeSet<_>>(), addresses.into_iter().collect());
    }
}
