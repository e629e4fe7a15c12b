use super::*;
use crate::dataplane::netlink::NfSocket;
use crate::dataplane::netns::Netns;

#[test]
fn each_rule_lists() {
    let skeleton = Skeleton::new("198.19.0.0/16".parse().unwrap(), true);
    let chains: Vec<_> = inner_chains().into_iter().take(4).chain(skeleton.entrances()).collect();
    for chain in chains {
        for Rule { comment, expressions } in chain.rules {
            let hook = chain.hook.unwrap_or(("nat", PREROUTING, DSTNAT - 1));
            let trial = entrance("trial", hook, vec![Rule { comment, expressions }]);
            let ns = Netns::new();
            let bytes = trial_of(&trial).commit();
            ns.run(move || NfSocket::open().unwrap().transact(&bytes).unwrap());
            println!("{comment}: {}", ns.sh("nft list chain ip meshdog trial 2>&1 | grep -v -e hook -e '^}' || true"));
        }
    }
}
