use super::*;

#[test]
fn what_is_configured_is_taken_as_it_is() {
    let docker = Path::new("/var/lib/docker");
    assert_eq!(seen(&Auto::Set("/srv/d".into()), Some(docker)), Some("/srv/d".into()));
    assert_eq!(seen(&Auto::Auto, None), None);
}

#[test]
fn other_mounts_are_seen_through_process_1() {
    let docker = Path::new("/var/lib/docker");
    assert_eq!(through(docker, false), docker);
    assert_eq!(through(docker, true), Path::new("/proc/1/root/var/lib/docker"));
    assert!(!foreign_mounts(OWN_MOUNTS, OWN_MOUNTS));
    assert!(foreign_mounts("/proc/self/ns/net", OWN_MOUNTS), "two namespaces");
    assert!(!foreign_mounts("/nowhere", OWN_MOUNTS), "not known");
}
