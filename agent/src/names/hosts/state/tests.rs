use super::*;

#[test]
fn a_state_says_what_is_told_and_why_not() {
    let told = |names, own, of| FileState::Told { names, own, of }.to_string();
    assert_eq!(told(3, 0, None), "tells 3 mesh names");
    assert_eq!(told(3, 1, None), "tells 3 mesh names, without 1 that its own lines define");
    assert!(told(0, 0, Some(4000)).ends_with("of 4000 only what label meshdog.dial names, the others come by DNS"));
    let files = [
        ("a", FileState::Told { names: 1, own: 0, of: None }),
        ("b", FileState::Told { names: 0, own: 1, of: None }),
        ("c", FileState::Failing("x".into())),
    ];
    let files = files.into_iter().map(|(id, state)| (ContainerId::from(id), state)).collect();
    assert_eq!(HostsState { files }.written(), 1);
}
