use std::sync::Arc;

use super::*;

/// Settings whose paths all lead into a directory.
fn settings(dir: &Path) -> Settings {
    let at = |name: &str| format!("{:?}", dir.join(name));
    let text = format!(
        "version = 1\n[paths]\napi_socket = {}\ndocker_socket = {}\nstate_dir = {}\nadmin_socket = {}",
        at("api.sock"),
        at("docker.sock"),
        at("state"),
        at("run/admin.sock")
    );
    crate::config::parse(Path::new("meshdog.toml"), &text).unwrap()
}

#[tokio::test]
async fn what_the_mesh_cannot_do_without_decides() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let _docker = tokio::net::UnixListener::bind(&settings.paths.docker_socket).unwrap();
    let kernel = [
        Capability { name: "nftables numgen", ok: true, why: String::new() },
        Capability { name: "nftables reject", ok: false, why: "Operation not supported".into() },
    ];
    let mut out = Vec::new();
    assert!(!print(&settings, &kernel, true, &mut out).await.unwrap());
    let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(found["ok"], false);
    let check = |name: &str| found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(check("Docker")["ok"], true);
    assert_eq!(check("host API")["ok"], false);
    assert!(check("host API")["advice"].as_str().unwrap().contains("superpowered"));
    assert_eq!(check("state")["ok"], true);
    assert_eq!(check("nftables numgen")["ok"], true);
    assert_eq!(check("nftables reject")["detail"], "Operation not supported");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but Docker's socket");
}

fn route_to(iface: &str, destination: [u8; 4], mask: [u8; 4]) -> RouteEntry {
    RouteEntry {
        iface: iface.to_owned(),
        destination: destination.into(),
        gateway: std::net::Ipv4Addr::UNSPECIFIED,
        flags: 1,
        refcnt: 0,
        in_use: 0,
        metrics: 0,
        mask: mask.into(),
        mtu: 0,
        window: 0,
        irtt: 0,
    }
}

#[test]
fn vips_need_a_route_that_covers_all_of_them() {
    let vips: VipCidr = "198.19.0.0/16".parse().unwrap();
    let default = route_to("eth0", [0; 4], [0; 4]);
    let half = route_to("eth1", [198, 19, 0, 0], [255, 255, 128, 0]);
    let whole = route_to("eth2", [198, 18, 0, 0], [255, 254, 0, 0]);
    assert!(route(&[], vips).is_err());
    assert!(route(std::slice::from_ref(&half), vips).is_err());
    assert_eq!(route(&[default.clone(), half], vips).unwrap(), "198.19.0.0/16 leaves by eth0");
    assert_eq!(route(&[default, whole], vips).unwrap(), "198.19.0.0/16 leaves by eth2", "the narrowest decides");
}

#[test]
fn capabilities_that_are_missing_are_named() {
    assert_eq!(capabilities(u64::MAX).unwrap(), "NET_ADMIN, SYS_ADMIN");
    assert_eq!(capabilities(1 << 12).unwrap_err(), "without SYS_ADMIN");
    assert_eq!(capabilities(0).unwrap_err(), "without NET_ADMIN, SYS_ADMIN");
}

#[test]
fn a_clock_from_before_the_program_is_wrong() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(clock(at(0), None).unwrap_err(), "1970-01-01T00:00:00Z, before this program was built");
    assert!(clock(at(EARLIEST), None).is_ok());
    assert!(clock(at(EARLIEST), Some(at(0))).is_ok(), "a reproducible image's file times say nothing");
    assert!(clock(at(EARLIEST), Some(at(EARLIEST + 1))).is_err());
}

#[test]
fn a_directory_is_tried_where_it_is_or_would_be_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    assert!(writable(dir.path()).is_ok());
    assert!(writable(&dir.path().join("not/yet")).unwrap().contains(dir.path().to_str().unwrap()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(writable(Path::new("/proc")).is_err());
    assert!(free(dir.path()).is_ok());
}

#[test]
fn switches_are_read_as_the_kernel_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let switch = dir.path().join("switch");
    assert!(forwarding(&switch).is_err());
    assert!(bridge_nf(&switch).contains("sees the bridge's address as the client's"));
    fs::write(&switch, "1\n").unwrap();
    assert_eq!(forwarding(&switch).unwrap(), "on");
    fs::write(&switch, "0\n").unwrap();
    assert!(forwarding(&switch).is_err());
}

#[test]
fn how_soon_a_refused_datagram_is_told_of_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusals(dir.path()).contains("once in 1000 ms"));
    fs::write(dir.path().join("icmp_ratemask"), "6168\n").unwrap();
    fs::write(dir.path().join("icmp_ratelimit"), "0\n").unwrap();
    let found = refusals(dir.path());
    assert!(found.contains("in all") && found.contains("icmp_ratemask=6160"), "{found}");
    fs::write(dir.path().join("icmp_ratemask"), "6160\n").unwrap();
    assert!(refusals(dir.path()).contains("each time"));
}

#[tokio::test]
async fn a_socket_must_accept() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    assert!(connects(&socket).await.is_err());
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    assert!(connects(&socket).await.is_ok());
    drop(listener);
    assert!(connects(&socket).await.unwrap_err().contains("Connection refused"));
}

#[test]
fn the_table_shows_verdicts_and_then_advice() {
    let checks = [
        DoctorCheck::new("Docker", Ok("/run/docker.sock accepts".to_owned()), "none"),
        DoctorCheck::new("clock", Err("1970".to_owned()), "set it").wanted(),
        DoctorCheck::new("capabilities", Err("without NET_ADMIN".to_owned()), "be root"),
    ];
    insta::assert_snapshot!(render(&checks, false), @r#"
    ok    Docker        /run/docker.sock accepts
    warn  clock         1970
    FAIL  capabilities  without NET_ADMIN

    clock: set it
    capabilities: be root

    The mesh cannot work here as it is.
    "#);
}

#[test]
fn what_the_agent_found_in_its_clients_way_is_handed_on() {
    let all = crate::telemetry::inputs::tests::Fixture::working();
    assert_eq!(clients::dns(&all.status()), Ok("answering".to_owned()));
    assert!(clients::networks(&all.status()).is_ok());
    let bridge = |name| crate::model::IfName::new(name).unwrap();
    all.closed_roads
        .send_replace([((bridge("docker0"), bridge("br-1")), Arc::from("dropped by a test"))].into_iter().collect());
    let address = "240.240.0.1:15053".parse().unwrap();
    let path =
        crate::model::QueryPath { from: crate::model::Clients::Bridge(bridge("docker0")), l4: crate::model::L4::Udp };
    let paths = Some([(path, Some("dropped by rule 7".into()))].into_iter().collect());
    all.resolver.send_replace(crate::names::dns::ResolverState::Listening { address, paths });
    let (dns, why) = clients::dns(&all.status()).unwrap_err();
    assert_eq!(
        (dns.as_str(), why.as_str()),
        ("listening", "queries do not come here from docker0 (udp): dropped by rule 7",)
    );
    let (ways, why) = clients::networks(&all.status()).unwrap_err();
    assert_eq!(ways, "1 of the ways between them are closed");
    assert_eq!(why, "from docker0 to br-1: dropped by a test");
}

#[tokio::test]
async fn the_budget_is_what_the_agent_says() {
    let dir = tempfile::tempdir().unwrap();
    let found = budget(running(&dir.path().join("admin.sock")).await.as_ref());
    assert_eq!(found.unwrap(), "not asked: no agent runs");
}
