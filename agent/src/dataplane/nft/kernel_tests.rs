use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::dataplane::kernel_tests::netns::Netns;
use crate::model::{Frontend, IfName, L4, Slots, VipCidr};

fn ranges() -> VipRanges {
    VipRanges::default()
}

fn range() -> VipCidr {
    ranges().v4()
}

/// Runs in a namespace, within a runtime.
fn run<T: Send + 'static>(ns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> T {
    ns.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async { work() }))
}

fn frontend(index: u32, l4: L4, port: u16) -> Frontend {
    Frontend { vip: range().nth(index), l4, port: port.try_into().unwrap() }
}

fn endpoints(count: u32) -> Slots {
    (0..count).map(|i| SocketAddr::new((0x0a00_0001 + i).to_be_bytes().into(), 8080)).collect()
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
        locals: [IpAddr::from([172, 17, 0, 3]), [172, 17, 0, 4].into()].into_iter().collect(),
        bridges: ["docker0", "br-0123456789ab"].into_iter().filter_map(IfName::new).collect(),
        resolvers: [(IpAddr::from([10, 0, 0, 2]), 15053_u16)].into_iter().collect(),
        host_resolvers: [(IpAddr::from([127, 0, 0, 53]), 15061_u16)].into_iter().collect(),
        uncaptured: [IpAddr::from([172, 17, 0, 9])].into_iter().collect(),
        closed: IfName::new("docker0").zip(IfName::new("br-0123456789ab")).into_iter().collect(),
        ..Ruleset::default()
    }
}

fn open() -> Nft {
    Nft::open(ranges(), true).unwrap()
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
    let empty = run(&ns, || {
        let mut nft = open();
        nft.install(&Ruleset::default(), &[]).unwrap();
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
    run(&ns, move || open().install(&few, &[]).unwrap());
    for element in [
        "map services: 240.240.0.7 . tcp . 80 : 0x00000003",
        "map services: 240.240.0.8 . udp . 53 : 0x00000001",
        "map slots: 240.240.0.7 . tcp . 80 . 0x00000002 : 10.0.0.3 . 8080",
        "set bridges: \"br-0123456789ab\"",
        "set samebridge: \"docker0\" . \"docker0\"",
        "set hairpin: 172.17.0.3 . 172.17.0.3",
        "map resolvers: 10.0.0.2 : 15053",
        "map hostresolvers: 127.0.0.53 : 15061",
        "set uncaptured: 172.17.0.9",
        "set closed: \"docker0\" . \"br-0123456789ab\"",
    ] {
        let (set, element) = element.split_once(": ").unwrap();
        let listing = ns.sh(&format!("nft list {} ip meshdog {}", &set[..3], &set[4..]));
        assert!(listing.contains(element), "{set} {element}: {listing}");
    }
}

#[test]
fn a_table_of_other_settings_is_not_adopted() {
    let ns = Netns::new();
    run(&ns, || {
        open().install(&sample(), &[]).unwrap();
        let range = VipRanges::new("10.99.0.0/16".parse().unwrap(), None).unwrap();
        for (ranges, capture) in [(range, true), (ranges(), false)] {
            let found = Nft::open(ranges, capture).unwrap().adopt().unwrap();
            assert!(matches!(found, Found::Other(_)), "{found}");
        }
        let one_family = Nft::open(ranges().only_v4(), true).unwrap().adopt().unwrap();
        assert!(matches!(one_family, Found::Ours(_)), "the other family's table is nobody's business then");
    });
}

#[test]
fn a_large_table_is_written_read_and_changed() {
    let ns = Netns::new();
    run(&ns, || {
        let mut nft = open();
        let frontends = (0..5000).map(|i| (frontend(i, L4::Tcp, 80), endpoints(4)));
        let before = Ruleset { frontends: frontends.collect(), ..sample() };
        // First by chunks, then in one transaction that replaces it.
        for _ in 0..2 {
            nft.install(&before, &[]).unwrap();
            assert_eq!(adopted(&mut nft), before);
        }
        // Another number of slots, and so another chain.
        let mut after = before.clone();
        after.frontends.insert(frontend(9, L4::Tcp, 80), endpoints(3));
        nft.apply(&Plan::new(&after, &before)).unwrap();
        assert_eq!(adopted(&mut nft), after);
    });
}

#[test]
fn a_refused_change_names_its_element_and_takes_its_transaction_along() {
    let ns = Netns::new();
    run(&ns, || {
        let mut nft = Nft::open(ranges().only_v4(), true).unwrap();
        nft.install(&sample(), &[]).unwrap();
        let mut believed = sample();
        believed.frontends.insert(frontend(5, L4::Tcp, 80), endpoints(4));
        let mut desired = sample();
        desired.resolvers.insert([9, 9, 9, 9].into(), 15054);
        let error = nft.apply(&Plan::new(&desired, &believed)).unwrap_err();
        let NftError::Refused { what, errno, .. } = &error else { panic!("{error}") };
        assert_eq!(*errno, nix::errno::Errno::ENOENT);
        assert_eq!(what, "delete element slots { 240.240.0.7 . tcp . 80 . 3 : 10.0.0.4:8080 }", "{error}");
        assert_eq!(adopted(&mut nft), sample());
        let error = nft.apply(&Plan::new(&sample(), &Ruleset::default())).unwrap_err();
        let NftError::Refused { what, errno, others, .. } = &error else { panic!("{error}") };
        assert_eq!((*errno, what.as_str()), (nix::errno::Errno::EEXIST, "add element bridges { br-0123456789ab }"));
        assert_eq!(*others, 4 + 2 + 3 + 3 + 1 + 104 - 1, "all but the first");
    });
}

#[test]
fn a_probe_finds_everything_and_leaves_nothing() {
    let ns = Netns::new();
    let capabilities = run(&ns, || probe(range())).unwrap();
    assert!(capabilities.len() >= 15 && capabilities.iter().all(|capability| capability.ok), "{capabilities:?}");
    assert_eq!(ns.sh("nft list ruleset"), "");
    run(&ns, || open().install(&sample(), &[]).unwrap());
    let before = ns.sh("nft -a list ruleset");
    assert!(run(&ns, || probe(range())).unwrap().iter().all(|capability| capability.ok));
    assert_eq!(ns.sh("nft -a list ruleset"), before, "nor does it touch what is there");
}
