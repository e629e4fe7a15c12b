use serde_json::{Value, json};

use super::*;
use crate::model::DualStack;

fn response(change: impl FnOnce(&mut Value)) -> ContainerInspectResponse {
    let mut value = json!({
        "Id": "c1",
        "Name": "/web-1",
        "State": {"Status": "running", "Running": true, "StartedAt": "2026-01-02T03:04:05.678901234Z"},
        "Config": {"Image": "shop/web:1", "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9/sctp": {}}},
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n0", "IPAddress": "172.17.0.3", "MacAddress": "02:42:ac:11:00:03"}}},
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn seen(change: impl FnOnce(&mut Value)) -> Inspected {
    digest(response(change)).unwrap()
}

fn bridges() -> BTreeMap<String, IfName> {
    [("n0", "docker0"), ("n1", "br-app")].map(|(id, name)| (id.to_owned(), IfName::new(name).unwrap())).into()
}

fn why(seen: &Inspected) -> String {
    match seen.attachment.resolve(&bridges()) {
        Network::Unsupported(why) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

fn address(seen: &Inspected) -> String {
    match seen.attachment.resolve(&bridges()) {
        Network::Bridge { address, .. } => address.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_container() {
    let seen = seen(|_| {});
    assert_eq!((&*seen.id, &*seen.name, &*seen.image), ("c1", "web-1", "shop/web:1"));
    assert_eq!(seen.started_ms, 1_767_323_045_678);
    assert_eq!(seen.stop_signal, Signal::TERM);
    assert_eq!((seen.health, seen.paused), (DockerHealth::None, false));
    let network = seen.attachment.resolve(&bridges());
    assert_eq!(network, Network::Bridge { address: DualStack::V4([172, 17, 0, 3].into()), published: Arc::default() });
}

#[test]
fn where_its_queries_come_from_and_whether_docker_gave_it_the_default_name_servers() {
    let networks = json!({"Networks": {
        "bridge": {"NetworkID": "n0", "IPAddress": "172.17.0.3"},
        "app": {"NetworkID": "n1", "IPAddress": "172.16.0.9"},
        "macvlan": {"NetworkID": "n9", "IPAddress": "10.0.0.9"},
    }});
    let two = seen(|v| v["NetworkSettings"] = networks);
    let addresses: Vec<IpAddr> = [[172, 16, 0, 9], [172, 17, 0, 3]].map(IpAddr::from).to_vec();
    assert_eq!(two.attachment.addresses(&bridges())[..], addresses);
    assert!(!two.own_dns);
    assert!(!seen(|v| v["HostConfig"]["Dns"] = json!([])).own_dns);
    assert!(seen(|v| v["HostConfig"]["Dns"] = json!(["10.0.0.53"])).own_dns);
    assert!(seen(|v| v["HostConfig"]["NetworkMode"] = json!("host")).attachment.addresses(&bridges()).is_empty());
}

#[test]
fn what_does_not_run_is_none() {
    assert_eq!(digest(response(|v| v["State"]["Running"] = json!(false))), None);
    assert_eq!(digest(response(|v| v["State"]["Restarting"] = json!(true))), None);
    assert_eq!(digest(ContainerInspectResponse::default()), None);
}

#[test]
fn how_it_stops() {
    let seen = seen(|v| {
        v["Config"]["StopSignal"] = json!("SIGQUIT");
    });
    assert_eq!(Some(seen.stop_signal), Signal::parse("3"));
    assert_eq!(super::tests::seen(|v| v["Config"]["StopSignal"] = json!("BOGUS")).stop_signal, Signal::TERM);
}

#[test]
fn the_network_of_its_mode_comes_first() {
    let two = |mode: &'static str| {
        seen(move |v| {
            v["HostConfig"]["NetworkMode"] = json!(mode);
            v["NetworkSettings"]["Networks"]["app"] = json!({"NetworkID": "n1", "IPAddress": "172.18.0.9"});
        })
    };
    assert_eq!(address(&two("app")), "172.18.0.9");
    assert_eq!(address(&two("n1")), "172.18.0.9");
    assert_eq!(address(&two("bridge")), "172.17.0.3");
    assert_eq!(address(&two("default")), "172.17.0.3");
}

#[test]
fn networks_that_cannot_be_used_are_passed_over_or_named() {
    let macvlan = |v: &mut Value| {
        v["HostConfig"]["NetworkMode"] = json!("lan");
        v["NetworkSettings"]["Networks"]["lan"] = json!({"NetworkID": "n9", "IPAddress": "192.168.1.7"});
    };
    assert_eq!(address(&seen(macvlan)), "172.17.0.3");
    let only = seen(|v| {
        v["NetworkSettings"]["Networks"] = json!({"lan": {"NetworkID": "n9", "IPAddress": "192.168.1.7"}});
    });
    assert!(why(&only).contains("lan is not a bridge network"));
    let bare = seen(|v| v["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] = json!(""));
    assert!(why(&bare).contains("no IPv4 address"));
    assert!(why(&seen(|v| v["NetworkSettings"]["Networks"] = json!({}))).contains("no network"));
    assert!(why(&seen(|v| v["HostConfig"]["NetworkMode"] = json!("none"))).contains("none"));
}

#[test]
fn host_and_joined_networks() {
    let host = seen(|v| v["HostConfig"]["NetworkMode"] = json!("host"));
    let Network::Host { ports } = host.attachment.resolve(&bridges()) else { panic!("{host:?}") };
    let ports: Vec<(u16, L4)> = ports.iter().map(|(port, l4)| (port.get(), *l4)).collect();
    assert_eq!(ports, [(53, L4::Udp), (80, L4::Tcp)]);
    let joined = seen(|v| v["HostConfig"]["NetworkMode"] = json!("container:c2"));
    assert_eq!(joined.attachment, Attachment::Joins("c2".into()));
}

#[test]
fn health_words() {
    for (word, health) in [
        ("none", DockerHealth::None),
        ("starting", DockerHealth::Starting),
        ("healthy", DockerHealth::Healthy),
        ("unhealthy", DockerHealth::Unhealthy),
    ] {
        assert_eq!(seen(|v| v["State"]["Health"] = json!({"Status": word})).health, health);
    }
}

#[test]
fn labels_are_bounded() {
    let twenty_thousand: BTreeMap<String, String> =
        (0..20_000).map(|i| (format!("meshdog.service-{i}.port"), "8080".into())).collect();
    assert_eq!(seen(|v| v["Config"]["Labels"] = json!(twenty_thousand)).labels.len(), 20_000);

    for labels in [
        (0..=MAX_LABELS).map(|i| (i.to_string(), String::new())).collect::<BTreeMap<_, _>>(),
        BTreeMap::from([("meshdog.a.alias".to_owned(), "x".repeat(MAX_LABEL_BYTES))]),
    ] {
        let seen = seen(|v| v["Config"]["Labels"] = json!(labels));
        assert!(seen.labels.is_empty() && why(&seen).contains("labels"));
    }
    assert_eq!(seen(|v| v["Name"] = json!("é".repeat(4000))).name.len(), MAX_NAME);
}

#[test]
fn only_bridge_networks_have_an_interface() {
    let network = |value: Value| bridge(serde_json::from_value(value).unwrap()).map(|(_, name)| name.to_string());
    let id = "0123456789abcdef";
    assert_eq!(network(json!({"Id": id, "Driver": "bridge"})), Some("br-0123456789ab".into()));
    let named = json!({"Id": id, "Driver": "bridge", "Options": {"com.docker.network.bridge.name": "docker0"}});
    assert_eq!(network(named), Some("docker0".into()));
    assert_eq!(network(json!({"Id": id, "Driver": "macvlan"})), None);
    assert_eq!(network(json!({"Id": "é", "Driver": "bridge"})), None);
    let hostile = json!({"Id": id, "Driver": "bridge", "Options": {"com.docker.network.bridge.name": "a/b"}});
    assert_eq!(network(hostile), None);
}

#[test]
fn ports_that_are_published_for_others() {
    let seen = seen(|v| {
        v["NetworkSettings"]["Ports"] = json!({
            "8080/tcp": [
                {"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"},
                {"HostIp": "127.0.0.1", "HostPort": "9"}, {"HostIp": "10.0.0.9", "HostPort": "80"},
            ],
            "53/udp": [{"HostIp": "", "HostPort": "5353"}],
            "9/sctp": [{"HostIp": "", "HostPort": "9"}], "70000/tcp": [{"HostPort": "1"}],
            "7/tcp": [{"HostIp": "nonsense", "HostPort": "7"}, {"HostIp": "0.0.0.0", "HostPort": "0"}],
            "6/tcp": null,
        });
    });
    let Network::Bridge { published, .. } = seen.attachment.resolve(&bridges()) else { panic!("no bridge") };
    let port = |port: u16| NonZeroU16::new(port).unwrap();
    let published_on = |on: u16, l4, host_ip: Option<&str>, host| PublishedPort {
        port: port(on),
        l4,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: port(host),
    };
    let expected = [
        published_on(53, L4::Udp, None, 5353),
        published_on(8080, L4::Tcp, None, 32768),
        published_on(8080, L4::Tcp, Some("10.0.0.9"), 80),
    ];
    assert_eq!(&published[..], expected);
}

#[test]
fn a_hosts_file_is_dockers_by_its_exact_path_alone() {
    let (id, other): (ContainerId, String) = ("c0".repeat(32).into(), "d1".repeat(32));
    let root = Some(Path::new("/var/lib/docker"));
    let own = format!("/var/lib/docker/containers/{id}/hosts");
    let resolved = |path: &str, joins: Option<&str>| {
        let path = HostsPath { path: path.into(), mounted: false, joins: joins.map(Into::into) };
        path.resolve(&id, root)
    };
    assert_eq!(resolved(&own, None), HostsFile::Docker(id.clone()));
    assert_eq!(resolved(&own.replace(&*id, &other), Some(&other)), HostsFile::Docker(other.as_str().into()));
    assert_eq!(resolved("", None), HostsFile::None);
    for (path, joins) in [
        (own.replace(&*id, &other), None),
        (own.clone(), Some(&*other)),
        (own.replace("/containers", "//containers"), None),
        (own.replace("/containers", "/x/../containers"), None),
        ("/srv/hosts".to_owned(), None),
        ("/var/lib/docker/containers/../hosts".to_owned(), Some("..")),
    ] {
        assert_eq!(resolved(&path, joins), HostsFile::Users, "{path} {joins:?}");
    }
    let mounted = HostsPath { path: own.as_str().into(), mounted: true, joins: None };
    assert_eq!(mounted.resolve(&id, root), HostsFile::Users);
    assert_eq!(HostsPath { mounted: false, ..mounted }.resolve(&id, None), HostsFile::None);
}

#[test]
fn what_is_mounted_on_etc_hosts_is_seen() {
    let mounts = |destination: &str| json!([{"Type": "bind", "Source": "/srv/x", "Destination": destination}]);
    assert!(seen(|v| v["Mounts"] = mounts("/etc/hosts")).hosts.mounted);
    assert!(!seen(|v| v["Mounts"] = mounts("/etc/hosts.d")).hosts.mounted);
    let joined = seen(|v| v["HostConfig"]["NetworkMode"] = json!("container:pause"));
    assert_eq!(joined.hosts.joins.as_deref(), Some("pause"));
}
