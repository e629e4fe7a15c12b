use super::*;

fn vips() -> VipRanges {
    VipRanges::default()
}

#[test]
fn nameserver_lines_count_as_in_libc() {
    let text = "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nsearch x.internal\nnameserver 10.0.0.2\n\
                nameserver\t10.0.0.3 # second\n  nameserver fd00:ec2::253\nnameserver fe80::1%eth0\nnameserver\n\
                nameservers 1.1.1.1\nnameserver nonsense\nnameserver 10.0.0.4\n";
    let expected: Vec<SocketAddr> =
        ["10.0.0.2:53", "10.0.0.3:53", "[fd00:ec2::253]:53"].map(|text| text.parse().unwrap()).into();
    assert_eq!(parse(text), expected, "three at most, in order");
    assert_eq!(parse(""), Vec::new());
}

#[tokio::test(start_paused = true)]
async fn resolv_conf_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let conf = ResolvConf::new(&path, vips());
    let mut servers = conf.servers();
    tokio::spawn(conf.run());
    tokio::time::sleep(3 * EVERY).await;
    assert!(servers.borrow().is_empty(), "there is no file yet");

    std::fs::write(&path, "nameserver 240.240.0.1\nnameserver 10.0.0.2\n").unwrap();
    servers.changed().await.unwrap();
    assert_eq!(*servers.borrow_and_update(), ["10.0.0.2:53".parse().unwrap()].into(), "not what leads back here");

    std::fs::write(&path, "").unwrap();
    tokio::time::sleep(3 * EVERY).await;
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(3 * EVERY).await;
    assert!(!servers.has_changed().unwrap(), "a file without servers changes nothing");

    std::fs::write(&path, "nameserver 10.0.0.9\n").unwrap();
    servers.changed().await.unwrap();
    assert_eq!(servers.borrow_and_update()[0].to_string(), "10.0.0.9:53");
}
