use std::net::Ipv4Addr;
use std::time::Instant;

use super::*;
use crate::dataplane::netns::Netns;
use crate::model::{IfName, L4};

pub(crate) fn range() -> VipCidr {
    "198.19.0.0/16".parse().unwrap()
}

pub(crate) fn frontend(index: u32, l4: L4, port: u16) -> Frontend {
    Frontend { vip: range().nth(index), l4, port: port.try_into().unwrap() }
}

pub(crate) fn endpoints(count: usize) -> Slots {
    (0..count).map(|i| SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + u32::try_from(i).unwrap()), 8080)).collect()
}

fn sample() -> Ruleset {
    Ruleset {
        frontends: [
            (frontend(5, L4::Tcp, 80), endpoints(3)),
            (frontend(6, L4::Udp, 53), endpoints(1)),
            (frontend(7, L4::Tcp, 443), endpoints(100)),
        ]
        .into_iter()
        .collect(),
        locals: [Ipv4Addr::new(172, 17, 0, 3)].into_iter().collect(),
        bridges: [IfName::new("docker0").unwrap()].into_iter().collect(),
        resolvers: [Ipv4Addr::new(10, 0, 0, 2)].into_iter().collect(),
    }
}

fn open() -> Nft {
    Nft::open(range(), true).unwrap()
}

#[test]
fn kernel_takes_it_and_nft_prints_it() {
    let ns = Netns::new();
    ns.run(|| open().install(&sample(), Some(Duration::from_secs(5))).unwrap());
    let text = ns.sh("nft list table ip meshdog");
    println!("{text}");
}

#[test]
fn large_tables_are_fast() {
    let ns = Netns::new();
    let (first, one) = ns.run(|| {
        let mut nft = open();
        let frontends = (0..5000).map(|i| (frontend(i, L4::Tcp, 80), endpoints(4)));
        let before = Ruleset { frontends: frontends.collect(), ..sample() };
        let start = Instant::now();
        nft.install(&before, None).unwrap();
        let first = start.elapsed();
        let mut after = before.clone();
        after.frontends.insert(frontend(7, L4::Tcp, 80), endpoints(3));
        let mut one = Duration::MAX;
        let start = Instant::now();
        nft.apply(&plan(&after, &before)).unwrap();
        one = one.min(start.elapsed());
        let start = Instant::now();
        assert!(matches!(nft.adopt().unwrap(), Found::Ours(found) if found == after));
        println!("adopt {:?}", start.elapsed());
        let start = Instant::now();
        nft.install(&after, None).unwrap();
        println!("replace {:?}", start.elapsed());
        (first, one)
    });
    println!("{first:?} {one:?}");
}
