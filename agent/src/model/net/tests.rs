use super::*;

#[test]
fn interface_names_are_bounded() {
    assert!(IfName::new("docker0").is_some());
    for bad in ["", "a/b", "a b", "..", "sixteen-bytes-xx"] {
        assert!(IfName::new(bad).is_none(), "{bad}");
    }
}

#[test]
fn a_captured_server_keeps_its_place_and_the_last_ones_make_room() {
    let server = |n: u8| SocketAddr::from(([10, 0, 0, n], DNS_PORT));
    let listed = |all: &[u8]| all.iter().map(|n| server(*n)).collect::<Vec<_>>();
    let first = places(&NameServers::default(), &listed(&[1, 2, 2]));
    assert_eq!(first[..], listed(&[1, 2]));
    assert_eq!(places(&first, &listed(&[3, 2]))[..], listed(&[1, 2, 3]));
    let full: NameServers = listed(&[1, 2, 3, 4, 5, 6, 7, 8]).into();
    assert_eq!(places(&full, &listed(&[9, 1]))[..], listed(&[1, 9, 3, 4, 5, 6, 7, 8]));
    assert_eq!(places(&full, &listed(&[1, 2, 3, 4, 5, 6, 7, 8, 9]))[..], full[..], "no room, and nobody is stale");

    let captured = CapturedServers { containers: first.clone(), host: first };
    let ports = |ports: OrdMap<IpAddr, u16>| ports.into_iter().map(|(_, port)| port).collect::<Vec<_>>();
    assert_eq!(ports(captured.ports_of_containers()), [15053, 15054]);
    assert_eq!(ports(captured.ports_of_host()), [15061, 15062]);
}
