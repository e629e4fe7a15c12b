use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::*;
use crate::dataplane::kernel_tests::netns::Netns;

#[test]
fn connections_of_tcp_endpoints_are_counted() {
    let host = Netns::new();
    // Without a rule that asks for it, the kernel tracks nothing.
    host.sh("nft 'table ip t { chain c { type filter hook input priority 0; ct state established accept; }; }'");
    let counted = |own: Option<Endpoints>| {
        host.run(move || {
            let (_own, own) = watch::channel(own);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(connections(&own)).unwrap()
        })
    };
    let [one, two] = [8080, 8081].map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let open = move || {
        let listener = TcpListener::bind(one).unwrap();
        let clients = [(); 3].map(|()| TcpStream::connect(one).unwrap());
        let accepted = [(); 3].map(|()| listener.accept().unwrap().0);
        (clients, accepted)
    };
    let _open = host.run(open);
    let healthy = |address, protocol| at(address, protocol, EndpointState::Healthy);
    let (http, udp) = (healthy(one, AppProtocol::Http), healthy(one, AppProtocol::Udp));
    let elsewhere = healthy(two, AppProtocol::Tcp);
    assert_eq!(counted(Some(endpoints([http.clone(), udp.clone(), elsewhere.clone()]))), 3);
    // Withheld or not, its connections are its own.
    assert_eq!(counted(Some(withhold(&endpoints([http]), &draining()))), 3);
    assert_eq!(counted(Some(endpoints([udp, elsewhere]))), 0);
    assert_eq!(counted(None), 0);
}
