//! What never changes while the agent runs: the table, its sets and maps, its chains and their rules.
//!
//! Every rule has a comment. The table's own comment holds a fingerprint of all messages that make the skeleton, so
//! that an agent of another build or with other settings sees at once that the kernel's is not its own.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

use super::abi::{self, comment, msg, object, set};
use super::chain::{Chain, Rule};
use super::element;
use super::expr::{Bytes, Expr, Meta, NEW, R0, R4, Reg};
use super::set::Set;
use super::set::datatype::{self, IFNAME, MARK, PORT, PROTOCOL, concat};
use super::size::ChainSize;
use super::table::{self, push};
use crate::dataplane::netlink::{Batch, nfproto, wire};
use crate::dataplane::{AGENT_MARK, DNS_ZONE};
use crate::model::address::octets;
use crate::model::{DNS_PORT, Family, L4, MAX_CAPTURED, RESOLVER_PORT, VipCidr};

mod invalid;

/// Hooks (`NF_INET_*`, linux/netfilter.h) and priorities (`NF_IP_PRI_*`, linux/netfilter_ipv4.h).
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// `IPPROTO_ICMP` (linux/in.h), `IPPROTO_ICMPV6` (linux/in6.h).
const fn icmp(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 58,
    }
}

/// The object that limits how long a SYN is waited for.
const TIMEOUT: &str = "connecting";
/// In seconds. The kernel sends a SYN again after one second (`TCP_TIMEOUT_INIT`, net/tcp.h); conntrack's own 120 s
/// would tie every repetition to the endpoint drawn first.
const SYN_TIMEOUT: u32 = 1;

/// The sets and maps of a family's table. Elements come and go but for those of `sizes`, which are part of the skeleton.
fn sets(family: Family) -> [Set; 11] {
    let (address, length) = (datatype::address(family), address_length(family));
    let set = |name, comment, key| Set { name, comment, flags: 0, key, data: None };
    let ports =
        |name, comment| Set { flags: set::FLAG_MAP, data: Some((PORT, 2)), ..set(name, comment, (address, length)) };
    [
        Set {
            flags: set::FLAG_MAP,
            data: Some((MARK, 4)),
            ..set(
                "services",
                "frontend : number of slots to draw from",
                (concat(&[address, PROTOCOL, PORT]), length + 8),
            )
        },
        Set {
            flags: set::FLAG_MAP,
            data: Some((concat(&[address, PORT]), length + 4)),
            ..set("slots", "frontend . slot : endpoint", (concat(&[address, PROTOCOL, PORT, MARK]), length + 12))
        },
        Set {
            flags: set::FLAG_MAP | set::FLAG_CONSTANT,
            data: Some((set::VERDICTS, 0)),
            ..set("sizes", "number of slots to draw from : chain that does", (MARK, 4))
        },
        set("bridges", "clients come from here", (IFNAME, 16)),
        set("samebridge", "in . out: the reply would not pass here", (concat(&[IFNAME, IFNAME]), 32)),
        set("hairpin", "client . endpoint: one and the same", (concat(&[address, address]), 2 * length)),
        ports("resolvers", "name server of containers : port of the agent's"),
        ports("hostresolvers", "name server of the host : port of the agent's"),
        set("uncaptured", "containers with name servers of their own", (address, length)),
        set("closed", "in . out: connections come to nothing", (concat(&[IFNAME, IFNAME]), 32)),
        Set {
            flags: set::FLAG_TIMEOUT,
            ..set("alive", "from . by: the agent answers DNS; expires with it", (concat(&[IFNAME, PROTOCOL]), 20))
        },
    ]
}

/// Of an address, in bytes.
fn address_length(family: Family) -> u32 {
    u32::from(family.bits()) / 8
}

/// The skeleton of one family's table, for one configuration.
#[derive(Debug)]
pub(crate) struct Skeleton {
    range: VipCidr,
    family: Family,
    capture: bool,
}

impl Skeleton {
    /// The skeleton for this VIP range, with or without capture of DNS queries.
    pub(crate) fn new(range: VipCidr, capture: bool) -> Self {
        Self { range, family: range.family(), capture }
    }

    /// The family whose addresses the table translates.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// The table's comment.
    pub(crate) fn fingerprint(&self) -> String {
        let mut batch = Batch::new();
        self.write_inner(&mut batch);
        self.write_entrances(&mut batch);
        // Another compiler's library may hash otherwise: then an upgrade writes the table anew, which is all.
        let mut hasher = DefaultHasher::new();
        hasher.write(batch.messages());
        format!("meshdog {} skeleton {:016x}", env!("CARGO_PKG_VERSION"), hasher.finish())
    }

    /// Everything that no packet reaches yet: the table, its sets and the chains that others go to.
    pub(crate) fn write_foundation(&self, batch: &mut Batch) {
        push(batch, self.family, msg::NEWTABLE, wire::CREATE | wire::EXCL, |w| {
            w.attr(abi::table::USERDATA, &comment::encode(comment::PLAIN, &self.fingerprint()));
        });
        self.write_inner(batch);
    }

    fn write_inner(&self, batch: &mut Batch) {
        write_sets(batch, self.family);
        write_timeout(batch, self.family);
        let chains = inner_chains(self.family);
        chains.iter().for_each(|chain| chain.write(batch, self.family));
        ChainSize::all().for_each(|size| element::write_size(batch, self.family, size));
        chains.iter().for_each(|chain| chain.write_rules(batch, self.family));
    }

    /// The chains that packets enter by.
    pub(crate) fn write_entrances(&self, batch: &mut Batch) {
        for chain in self.entrances() {
            chain.write(batch, self.family);
            chain.write_rules(batch, self.family);
        }
    }

    /// Each rule as (its chain, its comment), chain by chain.
    pub(crate) fn rules(&self) -> Vec<(String, &'static str)> {
        let chains = inner_chains(self.family).into_iter().chain(self.entrances());
        let rules =
            chains.flat_map(|chain| chain.rules.into_iter().map(move |rule| (chain.name.clone(), rule.comment)));
        rules.collect()
    }

    /// For each kind of expression a batch that adds a rule with it to a table of the same name, and its name. Only to
    /// be rehearsed.
    pub(crate) fn trials(&self) -> Vec<(&'static str, Batch)> {
        let mut trials: Vec<(&'static str, Batch)> = Vec::new();
        for chain in inner_chains(self.family).into_iter().chain(self.entrances()) {
            let hook = chain.hook.unwrap_or(("nat", PREROUTING, DSTNAT - 1));
            for Rule { comment, expressions } in chain.rules {
                for end in 1..=expressions.len() {
                    let beginning: Vec<_> = expressions.iter().take(end).copied().collect();
                    let Some(name) = beginning.last().map(|last| last.capability()) else { continue };
                    if trials.iter().all(|(known, _)| *known != name) {
                        let trial = Chain::entrance("trial", hook, vec![Rule { comment, expressions: beginning }]);
                        trials.push((name, trial_of(&trial, self.family)));
                    }
                }
            }
        }
        trials
    }

    fn entrances(&self) -> Vec<Chain> {
        let mut chains = Vec::new();
        let (mut prerouting, mut output) = (Vec::new(), Vec::new());
        let mut before_prerouting = vec![self.trace()];
        if self.capture {
            let (containers, before_output) = self.capture();
            before_prerouting.extend(containers);
            chains.push(Chain::entrance("capture_output", ("filter", OUTPUT, RAW), before_output));
            prerouting.push(self.answer("resolvers"));
            output.push(self.ask());
            output.push(self.answer("hostresolvers"));
        }
        for rules in [&mut prerouting, &mut output] {
            rules.push(self.redraw());
        }
        let from_bridge = [Expr::Meta(Meta::IifName, R0), Expr::In("bridges", R0)];
        prerouting.push(Rule {
            comment: "containers' connections to services",
            expressions: [&from_bridge[..], &dispatch(self.family)].concat(),
        });
        output
            .push(Rule { comment: "the host's connections to services", expressions: dispatch(self.family).to_vec() });
        for rules in [&mut prerouting, &mut output] {
            rules.push(Rule {
                comment: "nobody serves here",
                expressions: [&self.in_range(Expr::DestinationAddress(self.family, R0))[..], &[Expr::Goto("refuse")]]
                    .concat(),
            });
        }
        chains.push(Chain::entrance("before_prerouting", ("filter", PREROUTING, RAW), before_prerouting));
        chains.push(Chain::entrance("forward", ("filter", FORWARD, FILTER - 1), self.closed_roads()));
        chains.extend(self.invalid());
        // Just before Docker's own: the first translation of a connection wins.
        chains.push(Chain::entrance("prerouting", ("nat", PREROUTING, DSTNAT - 1), prerouting));
        chains.push(Chain::entrance("output", ("nat", OUTPUT, DSTNAT - 1), output));
        chains.push(Chain::entrance("postrouting", ("nat", POSTROUTING, SRCNAT - 1), self.return_paths()));
        chains
    }

    /// Decides, packet by packet, which DNS queries are answered here, by tracking them in a zone of their own. When
    /// the agent's lease ends, the next packet of the same client and port is tracked where it was before meshdog,
    /// without any translation: nothing has to age out.
    fn capture(&self) -> (Vec<Rule>, Vec<Rule>) {
        let family = self.family;
        let into_zone = [Expr::Load(R0, zone()), Expr::SetZone(R0)];
        // What most packets fail comes first: these rules see all of them.
        let query = [Expr::DestinationPort(R0), Expr::Equals(R0, port(DNS_PORT))];
        let leased = [Expr::Meta(Meta::L4Proto, R4), Expr::In("alive", R0)];
        let from_bridge = Expr::Meta(Meta::IifName, R0);
        let from_host = Expr::Load(R0, Bytes::new(&element::HOST));
        let with_defaults = [Expr::SourceAddress(family, R0), Expr::NotIn("uncaptured", R0)];
        let asks = |map| {
            [Expr::DestinationAddress(family, R0), Expr::Map { map, key: R0, to: R0 }, Expr::Differs(R0, port(0))]
        };
        let from_server = [Expr::SourceAddress(family, R0), Expr::Equals(R0, address(self.range.resolver()))];
        let last = RESOLVER_PORT + 2 * MAX_CAPTURED - 1;
        let answer = [Expr::SourcePort(R0), Expr::AtLeast(R0, port(RESOLVER_PORT)), Expr::AtMost(R0, port(last))];
        let error = [Expr::Meta(Meta::L4Proto, R0), Expr::Equals(R0, Bytes::new(&[icmp(family)]))];
        let of_agent = [Expr::Meta(Meta::Mark, R0), Expr::Equals(R0, Bytes::new(&AGENT_MARK.to_ne_bytes()))];
        let prerouting = vec![
            Rule {
                comment: "the agent asks as a container would",
                expressions: [&query[..], &self.sent_from_vantage(), &asks("resolvers"), &into_zone].concat(),
            },
            Rule {
                comment: "containers' queries to their default name servers",
                expressions: [&query[..], &[from_bridge], &leased, &with_defaults, &asks("resolvers"), &into_zone]
                    .concat(),
            },
        ];
        let output = vec![
            Rule { comment: "answers to DNS queries", expressions: [&from_server[..], &answer, &into_zone].concat() },
            Rule {
                comment: "nobody answers DNS queries",
                expressions: [&from_server[..], &error, &into_zone].concat(),
            },
            Rule {
                comment: "the agent asks itself whether it answers",
                expressions: [&of_agent[..], &self.to_server(), &into_zone, &[Expr::Return]].concat(),
            },
            Rule { comment: "the agent's own queries", expressions: [&of_agent[..], &[Expr::Return]].concat() },
            Rule {
                comment: "the host's DNS queries",
                expressions: [&query[..], &[from_host], &leased, &asks("hostresolvers"), &into_zone].concat(),
            },
        ];
        (prerouting, output)
    }

    /// What the agent sends from a vantage can be followed through everybody's chains, by whoever listens.
    fn trace(&self) -> Rule {
        let query = [Expr::DestinationPort(R0), Expr::Equals(R0, port(DNS_PORT))];
        let trace = [Expr::Load(R0, Bytes::new(&[1])), Expr::SetTrace(R0)];
        Rule {
            comment: "what the agent tries can be followed",
            expressions: [&query[..], &self.sent_from_vantage(), &trace].concat(),
        }
    }

    /// Just before the rules that drop what goes from one network to another. The agent goes on trying. By ICMP for TCP, too:
    /// with br_netfilter the kernel sends a reset past all translation (`nf_send_reset`), from an address that the client
    /// never dialled.
    fn closed_roads(&self) -> Vec<Rule> {
        let new = [Expr::CtState(R0), Expr::Equals(R0, Bytes::new(&NEW.to_ne_bytes()))];
        let ours = self.in_range(Expr::OriginalDestination(self.family, R0));
        let road = [Expr::Meta(Meta::IifName, R0), Expr::Meta(Meta::OifName, R4), Expr::In("closed", R0)];
        vec![
            Rule {
                comment: "the agent tries whether a road is open",
                expressions: [&new[..], &self.sent_from_vantage(), &[Expr::Return]].concat(),
            },
            Rule {
                comment: "no way to an endpoint in another network",
                expressions: [&new[..], &ours, &road, &[Expr::Unreachable(self.family)]].concat(),
            },
        ]
    }

    /// Sent from a vantage. No service's client has such an address.
    fn sent_from_vantage(&self) -> [Expr; 3] {
        within(Expr::SourceAddress(self.family, R0), self.range.reserved())
    }

    fn to_server(&self) -> [Expr; 2] {
        [Expr::DestinationAddress(self.family, R0), Expr::Equals(R0, address(self.range.resolver()))]
    }

    /// Captured queries go to the agent's server, at the port of the name server that was asked.
    fn answer(&self, ports: &'static str) -> Rule {
        let captured = [Expr::Zone(R0), Expr::Equals(R0, zone())];
        let port = R0.after(address_length(self.family));
        let server = [
            Expr::DestinationAddress(self.family, R0),
            Expr::Map { map: ports, key: R0, to: port },
            Expr::Load(R0, address(self.range.resolver())),
            Expr::Dnat { family: self.family, address: R0, port },
        ];
        Rule { comment: "captured DNS queries", expressions: [&captured[..], &server].concat() }
    }

    /// The agent's queries to its own server are where they belong.
    fn ask(&self) -> Rule {
        let captured = [Expr::Zone(R0), Expr::Equals(R0, zone())];
        Rule {
            comment: "the agent asks its own server",
            expressions: [&captured[..], &self.to_server(), &[Expr::Return]].concat(),
        }
    }

    /// A SYN that is not answered within the second before it is sent again is a connection to be drawn anew: it need
    /// not go to the same dead endpoint, and the end of the old one tells the agent of a failure.
    fn redraw(&self) -> Rule {
        let tcp = [Expr::Meta(Meta::L4Proto, R0), Expr::Equals(R0, Bytes::new(&[L4::Tcp.number()]))];
        let to_service = self.in_range(Expr::DestinationAddress(self.family, R0));
        Rule {
            comment: "a SYN sent again is drawn again",
            expressions: [&to_service[..], &tcp, &[Expr::SetTimeout(TIMEOUT)]].concat(),
        }
    }

    /// Where the reply would otherwise go straight to the client, from an address that it never dialled.
    fn return_paths(&self) -> Vec<Rule> {
        let (family, to) = (self.family, R0.after(address_length(self.family)));
        let ours = self.in_range(Expr::OriginalDestination(family, R0));
        let bridges = [Expr::Meta(Meta::IifName, R0), Expr::Meta(Meta::OifName, R4), Expr::In("samebridge", R0)];
        let ends = [Expr::SourceAddress(family, R0), Expr::DestinationAddress(family, to), Expr::In("hairpin", R0)];
        vec![
            Rule {
                comment: "back out of the bridge it came from",
                expressions: [&ours[..], &bridges, &[Expr::Masquerade]].concat(),
            },
            Rule {
                comment: "an endpoint that dials itself",
                expressions: [&ours[..], &ends, &[Expr::Masquerade]].concat(),
            },
        ]
    }

    /// The address that `load` puts into the first register is of the VIP range.
    fn in_range(&self, load: Expr) -> [Expr; 3] {
        within(load, self.range.net())
    }
}

/// The address that `load` puts into the first register is of this network.
fn within(load: Expr, net: IpNet) -> [Expr; 3] {
    [load, Expr::Mask(R0, address(net.netmask())), Expr::Equals(R0, address(net.network()))]
}

/// What a client dials as a key that begins in `R0`, and the register behind it.
fn frontend(family: Family) -> ([Expr; 3], Reg) {
    let protocol = R0.after(address_length(family));
    let port = protocol.after(4);
    let key = [Expr::DestinationAddress(family, R0), Expr::Meta(Meta::L4Proto, protocol), Expr::DestinationPort(port)];
    (key, port.after(4))
}

/// Two look-ups rather than one in a verdict map of all frontends: at every change of a verdict map the kernel checks
/// all chains that it leads to, for each element anew (1.1 ms with 5,000). The size goes from one look-up to the next
/// in the priority of the connection's first packet (`skb->priority`): forwarding sets that anew, no route depends on
/// it, and nft 1.0 crashes where it lists a map's result as another map's key.
fn dispatch(family: Family) -> [Expr; 7] {
    let ([address, protocol, port], _) = frontend(family);
    let size = Expr::Map { map: "services", key: R0, to: R0 };
    let (put, take) = (Expr::SetPriority(R0), Expr::Meta(Meta::Priority, R0));
    [address, protocol, port, size, put, take, Expr::VerdictMap("sizes", R0)]
}

fn write_sets(batch: &mut Batch, family: Family) {
    sets(family).iter().zip(1..).for_each(|(set, id)| set.write(batch, family, id));
}

/// The object that [`Skeleton::redraw`] puts on connections.
fn write_timeout(batch: &mut Batch, family: Family) {
    push(batch, family, msg::NEWOBJ, wire::CREATE | wire::EXCL, |w| {
        w.text(object::NAME, TIMEOUT);
        w.be32(object::TYPE, object::CT_TIMEOUT);
        w.nest(object::DATA, |w| {
            w.attr(object::TIMEOUT_L3PROTO, &u16::from(nfproto(family)).to_be_bytes());
            w.attr(object::TIMEOUT_L4PROTO, &[L4::Tcp.number()]);
            w.nest(object::TIMEOUT_DATA, |w| w.be32(object::TIMEOUT_TCP_SYN_SENT, SYN_TIMEOUT));
        });
        w.attr(object::USERDATA, &comment::encode(comment::PLAIN, "how long a SYN is waited for"));
    });
}

/// The chains that no packet enters by itself.
fn inner_chains(family: Family) -> Vec<Chain> {
    let refuse = Chain {
        name: "refuse".to_owned(),
        hook: None,
        rules: vec![
            Rule {
                comment: "refuse a connection",
                expressions: vec![
                    Expr::Meta(Meta::L4Proto, R0),
                    Expr::Equals(R0, Bytes::new(&[L4::Tcp.number()])),
                    Expr::Reset,
                ],
            },
            Rule { comment: "refuse anything else", expressions: vec![Expr::Unreachable(family)] },
        ],
    };
    std::iter::once(refuse).chain(ChainSize::all().map(|size| balancer(family, size))).collect()
}

/// A chain that sends a connection to one of its frontend's slots. The look-ups of one packet may see two generations
/// of the maps: whoever draws a slot that is gone takes slot 0, and only where that is gone too nobody serves.
fn balancer(family: Family, size: ChainSize) -> Chain {
    let (key, slot) = frontend(family);
    let port = R0.after(address_length(family));
    let pick = |drawn: Expr| {
        let look_up = [Expr::Map { map: "slots", key: R0, to: R0 }, Expr::Dnat { family, address: R0, port }];
        [&key[..], &[drawn], &look_up].concat()
    };
    let drawn = Expr::Draw { below: size.get(), to: slot };
    let draws = (0..size.draws()).map(|_| Rule { comment: "an endpoint at random", expressions: pick(drawn) });
    let first = Rule { comment: "the first endpoint", expressions: pick(Expr::Draw { below: 1, to: slot }) };
    let none = Rule { comment: "no endpoint any more", expressions: vec![Expr::Goto("refuse")] };
    Chain { name: size.chain(), hook: None, rules: draws.chain([first, none]).collect() }
}

/// A table of our name with all sets and this chain, in place of one that may be there.
fn trial_of(chain: &Chain, family: Family) -> Batch {
    let mut batch = Batch::new();
    table::delete(&mut batch, family);
    push(&mut batch, family, msg::NEWTABLE, wire::CREATE | wire::EXCL, |_| ());
    write_sets(&mut batch, family);
    if chain.rules.iter().any(|rule| matches!(rule.expressions.last(), Some(Expr::SetTimeout(_)))) {
        write_timeout(&mut batch, family);
    }
    Chain { name: "refuse".to_owned(), hook: None, rules: Vec::new() }.write(&mut batch, family);
    chain.write(&mut batch, family);
    chain.write_rules(&mut batch, family);
    batch
}

fn zone() -> Bytes {
    Bytes::new(&DNS_ZONE.to_ne_bytes())
}

fn port(port: u16) -> Bytes {
    Bytes::new(&port.to_be_bytes())
}

fn address(address: IpAddr) -> Bytes {
    Bytes::new(&octets(address))
}
