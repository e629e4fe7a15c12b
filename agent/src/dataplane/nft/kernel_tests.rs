//! The tables as the kernel takes and lists them.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::*;
use crate::dataplane::netns::Netns;
use crate::model::{IfName, L4};

fn range() -> VipCidr {
    "198.19.0.0/16".parse().unwrap()
}

fn frontend(index: u32, l4: L4, port: u16) -> Frontend {
    Frontend { vip: range().nth(index), l4, port: port.try_into().unwrap() }
}

fn endpoints(count: u32) -> Slots {
    (0..count).map(|i| SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + i), 8080)).collect()
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
        locals: [Ipv4Addr::new(172, 17, 0, 3), Ipv4Addr::new(172, 17, 0, 4)].into_iter().collect(),
        bridges: ["docker0", "br-0123456789ab"].into_iter().filter_map(IfName::new).collect(),
        resolvers: [Ipv4Addr::new(10, 0, 0, 2)].into_iter().collect(),
    }
}

fn open() -> Nft {
    Nft::open(range(), true).unwrap()
}

fn adopted(nft: &mut Nft) -> Ruleset {
    match nft.adopt().unwrap() {
        Found::Ours(ruleset) => ruleset,
        other => panic!("{other}"),
    }
}

/// The listing with all but the first few of what is alike.
fn abridged(listing: &str) -> String {
    let mut lines = Vec::new();
    let mut skip = false;
    for line in listing.lines() {
        if let Some(size) = line.strip_prefix("\tchain lb").and_then(|rest| rest.strip_suffix(" {")) {
            skip = !["1", "2", "3", "128"].contains(&size);
        } else if line.starts_with("\tchain ") || line.starts_with("\tmap ") || line.starts_with("\tset ") {
            skip = false;
        }
        // The table's fingerprint changes with every rule.
        let fingerprint = line.contains("skeleton");
        if !skip && !fingerprint && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    // How nft writes a priority changes with its version.
    lines.join("\n").replace("priority -101", "priority dstnat - 1")
}

#[test]
fn nft_lists_the_skeleton() {
    let ns = Netns::new();
    let empty = ns.run(|| {
        let mut nft = open();
        nft.install(&Ruleset::default(), None).unwrap();
        adopted(&mut nft)
    });
    assert_eq!(empty, Ruleset::default());
    let listing = ns.sh("nft list table ip meshdog");
    assert_eq!(listing.matches("chain lb").count(), 74);
    insta::assert_snapshot!(abridged(&listing));
}

#[test]
fn nft_lists_elements() {
    let ns = Netns::new();
    let mut few = sample();
    few.frontends.remove(&frontend(7, L4::Tcp, 443));
    ns.run(move || open().install(&few, None).unwrap());
    for element in [
        "map services: 198.19.0.7 . tcp . 80 : 0x00000003",
        "map services: 198.19.0.8 . udp . 53 : 0x00000001",
        "map slots: 198.19.0.7 . tcp . 80 . 0x00000002 : 10.0.0.3 . 8080",
        "set bridges: \"br-0123456789ab\"",
        "set samebridge: \"docker0\" . \"docker0\"",
        "set hairpin: 172.17.0.3 . 172.17.0.3",
        "set resolvers: 10.0.0.2",
    ] {
        let (set, element) = element.split_once(": ").unwrap();
        let listing = ns.sh(&format!("nft list {} ip meshdog {}", &set[..3], &set[4..]));
        assert!(listing.contains(element), "{set} {element}: {listing}");
    }
}

#[test]
fn what_is_written_is_adopted() {
    let ns = Netns::new();
    ns.run(|| {
        let mut nft = open();
        assert!(matches!(nft.adopt().unwrap(), Found::Nothing));
        nft.install(&sample(), Some(Duration::from_secs(5))).unwrap();
        assert_eq!(adopted(&mut open()), sample());
        let mut next = sample();
        next.frontends.insert(frontend(5, L4::Tcp, 80), endpoints(70));
        next.frontends.remove(&frontend(7, L4::Tcp, 443));
        next.bridges = IfName::new("br1").into_iter().collect();
        nft.apply(&plan(&next, &sample())).unwrap();
        assert_eq!(adopted(&mut nft), next);
        nft.install(&sample(), None).unwrap();
        assert_eq!(adopted(&mut nft), sample());
        let other = Nft::open("10.99.0.0/16".parse().unwrap(), true).unwrap().adopt().unwrap();
        assert!(matches!(other, Found::Other(_)), "another range's table is not adopted");
        assert!(matches!(Nft::open(range(), false).unwrap().adopt().unwrap(), Found::Other(_)));
    });
}

#[test]
fn a_refused_change_names_its_element_and_takes_its_transaction_along() {
    let ns = Netns::new();
    ns.run(|| {
        let mut nft = open();
        nft.install(&sample(), None).unwrap();
        let mut believed = sample();
        believed.frontends.insert(frontend(5, L4::Tcp, 80), endpoints(4));
        let mut desired = sample();
        desired.resolvers.insert(Ipv4Addr::new(9, 9, 9, 9));
        let error = nft.apply(&plan(&desired, &believed)).unwrap_err();
        let NftError::Refused { what, errno, .. } = &error else { panic!("{error}") };
        assert_eq!(*errno, nix::errno::Errno::ENOENT);
        assert_eq!(what, "delete element slots { 198.19.0.7 . tcp . 80 . 3 : 10.0.0.4:8080 }", "{error}");
        assert_eq!(adopted(&mut nft), sample());
        let error = nft.apply(&plan(&sample(), &Ruleset::default())).unwrap_err();
        let NftError::Refused { what, errno, others, .. } = &error else { panic!("{error}") };
        assert_eq!((*errno, what.as_str()), (nix::errno::Errno::EEXIST, "add element bridges { br-0123456789ab }"));
        assert_eq!(*others, 4 + 2 + 1 + 3 + 104 - 1, "all but the first");
    });
}

#[test]
fn a_probe_finds_everything_and_leaves_nothing() {
    let ns = Netns::new();
    let capabilities = ns.run(|| probe::probe(range())).unwrap();
    assert!(capabilities.len() >= 15 && capabilities.iter().all(|capability| capability.ok), "{capabilities:?}");
    assert_eq!(ns.sh("nft list ruleset"), "");
    ns.run(|| open().install(&sample(), None).unwrap());
    let before = ns.sh("nft -a list ruleset");
    assert!(ns.run(|| probe::probe(range())).unwrap().iter().all(|capability| capability.ok));
    assert_eq!(ns.sh("nft -a list ruleset"), before, "nor does it touch what is there");
}

#[test]
fn a_large_table_is_written_read_and_changed_fast() {
    let ns = Netns::new();
    ns.run(|| {
        let mut nft = open();
        let frontends = (0..5000).map(|i| (frontend(i, L4::Tcp, 80), endpoints(4)));
        let before = Ruleset { frontends: frontends.collect(), ..sample() };
        let start = Instant::now();
        nft.install(&before, None).unwrap();
        let first = start.elapsed();
        let start = Instant::now();
        assert_eq!(adopted(&mut nft), before);
        let read = start.elapsed();
        let start = Instant::now();
        nft.install(&before, None).unwrap();
        let replaced = start.elapsed();
        // Another number of slots, so that a verdict map would have been checked as a whole.
        let mut after = before.clone();
        let mut one: Vec<Duration> = (0..20)
            .map(|i| {
                let previous = after.clone();
                after.frontends.insert(frontend(i, L4::Tcp, 80), endpoints(3));
                let start = Instant::now();
                nft.apply(&plan(&after, &previous)).unwrap();
                start.elapsed()
            })
            .collect();
        one.sort();
        println!("first {first:?}, read {read:?}, replaced {replaced:?}, one change {:?}", one[10]);
        // Without optimisation and on a busy machine; the budgets proper are the benchmark's.
        assert!(first < Duration::from_secs(2) && one[10] < Duration::from_millis(1), "{first:?} {one:?}");
    });
}
