use super::*;

#[test]
fn interface_names_are_bounded() {
    assert!(IfName::new("docker0").is_some());
    for bad in ["", "a/b", "a b", "..", "sixteen-bytes-xx"] {
        assert!(IfName::new(bad).is_none(), "{bad}");
    }
}
