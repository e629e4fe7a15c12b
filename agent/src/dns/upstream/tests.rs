use std::net::SocketAddrV4;

use super::*;

fn config(upstream: Auto<Vec<SocketAddr>>, path: &Path) -> Config {
    Config {
        listen: "198.19.0.1:15053".parse().unwrap(),
        upstream,
        resolv_conf: path.to_owned(),
        vips: "198.19.0.0/16".parse().unwrap(),
        mark: None,
    }
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

#[tokio::test]
async fn what_leads_back_here_is_left_out() {
    let listen = SocketAddrV4::new("127.0.0.1".parse().unwrap(), 5300);
    let given = ["127.0.0.1:5300", "198.19.0.1:53", "198.19.7.7:53", "127.0.0.1:53", "[::1]:53"];
    let given = given.map(|text| text.parse().unwrap()).to_vec();
    let config = Config { listen, ..config(Auto::Set(given), Path::new("/nonexistent")) };
    let kept: Vec<_> = Upstream::new(&config).servers().await.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["127.0.0.1:53", "[::1]:53"]);
}

#[tokio::test(start_paused = true)]
async fn resolv_conf_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let upstream = Upstream::new(&config(Auto::Auto, &path));
    assert!(upstream.servers().await.is_empty(), "there is no file yet");

    let (sender, mut servers) = watch::channel(Servers::default());
    tokio::spawn(async move { upstream.follow(sender, watch::Sender::new(Servers::default())).await });
    std::fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
    servers.changed().await.unwrap();
    assert_eq!(servers.borrow_and_update()[0].to_string(), "10.0.0.2:53");

    std::fs::write(&path, "").unwrap();
    tokio::time::sleep(3 * EVERY).await;
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(3 * EVERY).await;
    assert!(!servers.has_changed().unwrap(), "a file without servers changes nothing");

    std::fs::write(&path, "nameserver 10.0.0.9\n").unwrap();
    servers.changed().await.unwrap();
    assert_eq!(servers.borrow_and_update()[0].to_string(), "10.0.0.9:53");
}
