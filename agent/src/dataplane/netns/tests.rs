use super::*;

/// Without root this fails where the thread is moved to where it is.
#[test]
fn ones_own_namespace_takes_no_privilege() {
    let here = Netns::current().unwrap();
    assert!(here.is_there());
    assert_eq!(here.run(|| Netns::current().unwrap().id()).unwrap(), here.id());
    here.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
}

#[test]
fn what_is_no_namespace_is_told_from_what_is_not_there() {
    assert!(matches!(Netns::open(Path::new("/proc/self/status")), Err(NetnsError::NoNamespace(_))));
    assert!(matches!(Netns::open(Path::new("/proc/self/ns/frob")), Err(NetnsError::Open { .. })));
}
