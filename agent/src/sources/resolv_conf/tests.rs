use super::*;

fn vips() -> VipRanges {
    VipRanges::default()
}

fn addresses<const N: usize>(all: [&str; N]) -> Vec<IpAddr> {
    all.map(|one| one.parse().unwrap()).to_vec()
}

fn shown(servers: &[SocketAddr]) -> Vec<String> {
    servers.iter().map(ToString::to_string).collect()
}

#[test]
fn nameserver_lines_count_as_docker_reads_them() {
    let text = "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nsearch x.internal\nnameserver 10.0.0.2\n\
                nameserver\t10.0.0.3 # second\n  nameserver fd00:ec2::253\nnameserver fe80::1%eth0\nnameserver\n\
                nameservers 1.1.1.1\nnameserver nonsense\nnameserver 10.0.0.4\n";
    assert_eq!(parse(text), addresses(["10.0.0.2", "10.0.0.3", "fd00:ec2::253", "10.0.0.4"]));
    assert_eq!(parse(""), Vec::<IpAddr>::new());
}

#[test]
fn containers_get_what_they_can_reach_or_dockers_own_choice() {
    assert_eq!(defaults(&addresses(["127.0.0.1", "10.0.0.2", "::1"])), addresses(["10.0.0.2"]));
    assert_eq!(defaults(&addresses(["127.0.0.1"])), addresses(["8.8.8.8", "8.8.4.4"]));
    assert_eq!(defaults(&[]), addresses(["8.8.8.8", "8.8.4.4"]));
}

#[tokio::test(start_paused = true)]
async fn resolv_conf_is_followed_and_who_was_once_captured_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let conf = ResolvConf::new(&path, &[], vips(), false);
    let mut servers = conf.servers();
    tokio::spawn(conf.run());
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(*servers.borrow(), CapturedServers::default(), "there is no file yet");

    std::fs::write(&path, "nameserver 240.240.0.1\nnameserver 10.0.0.2\n").unwrap();
    servers.changed().await.unwrap();
    let now = servers.borrow_and_update().clone();
    assert_eq!(shown(&now.containers), ["10.0.0.2:53"], "not what leads back here");
    assert!(now.host.is_empty(), "the host is left alone");

    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(3 * EVERY).await;
    assert!(!servers.has_changed().unwrap(), "a file that is gone changes nothing");

    std::fs::write(&path, "nameserver 10.0.0.9\n").unwrap();
    servers.changed().await.unwrap();
    let containers = shown(&servers.borrow_and_update().containers);
    assert_eq!(containers, ["10.0.0.2:53", "10.0.0.9:53"], "containers of before go on asking the former");
}

#[tokio::test(start_paused = true)]
async fn behind_systemds_stub_docker_takes_its_servers_and_the_host_the_stub() {
    let dir = tempfile::tempdir().unwrap();
    let (path, behind) = (dir.path().join("resolv.conf"), dir.path().join("behind"));
    std::fs::write(&path, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
    std::fs::write(&behind, "nameserver 10.0.0.2\n").unwrap();
    let conf = ResolvConf::new(&path, &["/nonexistent", behind.to_str().unwrap()], vips(), true);
    let mut servers = conf.servers();
    tokio::spawn(conf.run());
    servers.changed().await.unwrap();
    let now = servers.borrow_and_update().clone();
    assert_eq!((shown(&now.containers), shown(&now.host)), (vec!["10.0.0.2:53".into()], vec!["127.0.0.53:53".into()]));
}
