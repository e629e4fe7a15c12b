use super::*;

fn config(upstream: Auto<Vec<SocketAddr>>) -> ResolverConfig {
    let listen = "127.0.0.1:5300".parse().unwrap();
    ResolverConfig { listen, upstream, vips: Default::default(), mark: None }
}

#[test]
fn what_leads_back_here_is_left_out() {
    let given = ["127.0.0.1:5300", "240.240.0.1:53", "240.240.7.7:53", "127.0.0.1:53", "[::1]:53"];
    let given = given.map(|text| text.parse().unwrap()).to_vec();
    let (_host, of_host) = watch::channel(NameServers::default());
    let kept: Vec<_> = servers(&config(Auto::Set(given)), of_host).borrow().iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["127.0.0.1:53", "[::1]:53"]);
}

#[test]
fn the_hosts_servers_are_asked_unless_others_are_given() {
    let (host, of_host) = watch::channel(NameServers::default());
    let (given, all) = (vec!["10.0.0.3:53".parse().unwrap()], NameServers::from(["10.0.0.2:53".parse().unwrap()]));
    let (auto, set) = (servers(&config(Auto::Auto), of_host.clone()), servers(&config(Auto::Set(given)), of_host));
    host.send_replace(all.clone());
    assert_eq!(*auto.borrow(), all);
    assert_eq!(set.borrow()[0].to_string(), "10.0.0.3:53");
}
