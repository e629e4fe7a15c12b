use hickory_proto::op::{EdnsFlags, MessageType};
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::rdata::opt::EdnsOption;
use proptest::prelude::*;

use super::*;
use crate::model::{Names, Namespace, ServiceId, VipRanges};

fn served() -> Served {
    let vip = DualStack::V4([240, 240, 0, 7].into());
    let names = ["orders", "orders.prod", "a.b"].into_iter().map(|name| (name.parse().unwrap(), vip)).collect();
    let service = ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() };
    Served { names, holders: imbl::OrdMap::unit([240, 240, 0, 7].into(), service) }
}

fn zones() -> Zones {
    let prod: Namespace = "prod".parse().unwrap();
    Zones::new([&prod], false, VipRanges::default())
}

fn decided(bytes: &[u8]) -> QueryDecision {
    decide(bytes, Asker::Container, &zones(), Some(&served()))
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0xbeef, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16, flags: EdnsFlags) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    *edns.flags_mut() = flags;
    edns.options_mut().insert(EdnsOption::Unknown(10, b"12345678".to_vec()));
    message.edns = Some(edns);
    message
}

fn replied(message: &Message) -> (Message, (AnswerKind, ResponseCode)) {
    match decided(&message.to_vec().unwrap()) {
        QueryDecision::Reply(bytes, kind, code) => (Message::from_vec(&bytes).unwrap(), (kind, code)),
        decision => panic!("{decision:?}"),
    }
}

fn relayed(bytes: &[u8]) {
    let decision = decided(bytes);
    assert!(matches!(decision, QueryDecision::Relay), "{decision:?} for {bytes:?}");
}

#[test]
fn a_mesh_name_has_its_vip() {
    for name in ["orders.", "orders.prod."] {
        let (answer, count) = replied(&query(name, RecordType::A));
        assert_eq!(count, (AnswerKind::Mesh, ResponseCode::NoError));
        assert_eq!(answer.metadata.id, 0xbeef);
        let Metadata { authoritative, recursion_available, recursion_desired, truncation, .. } = answer.metadata;
        assert!(authoritative && recursion_available && recursion_desired && !truncation);
        let [record] = &answer.answers[..] else { panic!("{answer}") };
        assert_eq!(record.data, RData::A(A::new(240, 240, 0, 7)));
        assert_eq!(record.ttl, 5);
        assert!(answer.authorities.is_empty() && answer.edns.is_none());
    }
}

#[test]
fn case_does_not_matter_and_is_repeated() {
    let query = query("oRDers.PROD.", RecordType::A).to_vec().unwrap();
    let QueryDecision::Reply(answer, ..) = decided(&query) else { panic!("no answer") };
    assert_eq!(answer[12..query.len()], query[12..], "the question is repeated byte for byte");
    let answer = Message::from_vec(&answer).unwrap();
    assert!(answer.answers[0].name.eq_case(&Name::from_ascii("oRDers.PROD.").unwrap()));
}

#[test]
fn other_types_of_a_mesh_name_are_empty_not_absent() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::SRV, RecordType::HTTPS, RecordType::Unknown(65280)] {
        let (answer, _) = replied(&query("Orders.", kind));
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty(), "{kind}");
        let [record] = &answer.authorities[..] else { panic!("{answer}") };
        let RData::SOA(soa) = &record.data else { panic!("{record}") };
        assert_eq!((record.ttl, soa.minimum), (1, 1), "RFC 2308: the smaller one is how long clients remember");
        assert!(record.name.zone_of(&Name::from_ascii("orders.").unwrap()));
    }
}

#[test]
fn any_soa_and_transfers() {
    let types = |kind| replied(&query("orders.", kind)).0.answers.iter().map(Record::record_type).collect::<Vec<_>>();
    assert_eq!(types(RecordType::ANY), [RecordType::A]);
    assert_eq!(types(RecordType::SOA), [RecordType::SOA]);
    let (answer, count) = replied(&query("orders.", RecordType::AXFR));
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(count, (AnswerKind::Refused, ResponseCode::Refused));
}

#[test]
fn what_is_ours_alone_is_denied_for_a_second() {
    let (answer, count) = replied(&query("nobody.prod.", RecordType::A));
    assert_eq!(count, (AnswerKind::Mesh, ResponseCode::NXDomain));
    let [record] = &answer.authorities[..] else { panic!("{answer}") };
    let RData::SOA(soa) = &record.data else { panic!("{record}") };
    assert_eq!((record.ttl, soa.minimum, record.name.to_ascii().as_str()), (1, 1, "prod."));
    let bytes = query("nobody.prod.", RecordType::A).to_vec().unwrap();
    let QueryDecision::Reply(_, _, code) = decide(&bytes, Asker::Container, &zones(), None) else { panic!() };
    assert_eq!(code, ResponseCode::ServFail, "nobody knows yet");
    let (apex, count) = replied(&query("prod.", RecordType::A));
    assert_eq!((count.1, apex.answers.len(), apex.authorities.len()), (ResponseCode::NoError, 0, 1));
}

#[test]
fn a_vip_has_the_name_of_its_service() {
    let (answer, _) = replied(&query("7.0.240.240.in-addr.arpa.", RecordType::PTR));
    assert_eq!(answer.answers[0].data, RData::PTR(PTR(Name::from_ascii("orders.prod.").unwrap())));
    let (other, _) = replied(&query("7.0.240.240.in-addr.arpa.", RecordType::A));
    assert_eq!((other.answers.len(), other.metadata.response_code), (0, ResponseCode::NoError));
    let (unknown, _) = replied(&query("8.0.240.240.in-addr.arpa.", RecordType::PTR));
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn whatever_is_not_a_plain_query_for_a_mesh_name_goes_on_as_it_is() {
    for name in [".", "x.orders.", "orders.prod.internal.", "b.", "example.com."] {
        for kind in [RecordType::A, RecordType::AXFR, RecordType::ANY] {
            relayed(&query(name, kind).to_vec().unwrap());
        }
    }
    let good = query("orders.", RecordType::A).to_vec().unwrap();
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    relayed(&edited(2, 0x28)); // an update
    relayed(&edited(2, 0x20)); // a notification
    relayed(&edited(5, 0)); // no question
    relayed(&edited(4, 255)); // 65281 questions
    relayed(&edited(12, 0xc0)); // a pointer beyond the end
    relayed(&good[..good.len() - 1]); // cut short
    relayed(&good[..12]);
    relayed(&[&[0; 12][..], &[0xff; 60_000]].concat());
    let mut chaos = query("orders.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    relayed(&chaos.to_vec().unwrap());
    // What cannot be read of a foreign query is its server's to judge.
    let mut foreign = query("example.com.", RecordType::A).to_vec().unwrap();
    foreign[11] = 1;
    relayed(&foreign);
}

#[test]
fn before_the_first_snapshot_all_but_the_lease_and_what_is_ours_alone_is_relayed() {
    let bytes = query("orders.", RecordType::A).to_vec().unwrap();
    assert!(matches!(decide(&bytes, Asker::Container, &zones(), None), QueryDecision::Relay));
    let mut lease = query(LEASE_NAME, RecordType::A);
    lease.queries[0].name.set_fqdn(true);
    let bytes = lease.to_vec().unwrap();
    for served in [None, Some(&served())] {
        assert!(matches!(decide(&bytes, Asker::Container, &zones(), served), QueryDecision::Lease(_)));
    }
}

#[test]
fn edns_is_answered_with_edns() {
    let flags = EdnsFlags { dnssec_ok: true, z: 0 };
    let (answer, _) = replied(&with_edns(query("orders.", RecordType::A), 4096, flags));
    let edns = answer.edns.unwrap();
    assert!(edns.flags().dnssec_ok && edns.version() == 0 && edns.max_payload() == ANNOUNCED);
    assert!(edns.options().as_ref().is_empty(), "a cookie that is not understood is not echoed (RFC 7873 5.2.3)");

    let mut newer = with_edns(query("orders.", RecordType::A), 4096, flags);
    newer.edns.as_mut().unwrap().set_version(1);
    let (answer, count) = replied(&newer);
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert_eq!(count, (AnswerKind::Refused, ResponseCode::BADVERS));
    assert!(answer.answers.is_empty());
}

#[test]
fn a_name_has_an_address_of_each_family_that_it_has_a_vip_of() {
    let (v4, v6): (IpAddr, IpAddr) = ([240, 240, 0, 7].into(), "fd6d::7".parse().unwrap());
    let stacks = [("four", vec![v4]), ("six", vec![v6]), ("both", vec![v4, v6])];
    let names: Names =
        stacks.iter().map(|(name, all)| (name.parse().unwrap(), DualStack::collect(all.clone()).unwrap())).collect();
    let served = Served { names, ..Served::default() };
    for (name, all) in stacks {
        for (kind, address) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let query = query(&format!("{name}."), kind).to_vec().unwrap();
            let QueryDecision::Reply(bytes, ..) = decide(&query, Asker::Container, &zones(), Some(&served)) else {
                panic!("no answer")
            };
            let answer = Message::from_vec(&bytes).unwrap();
            let addresses: Vec<_> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
            assert_eq!(
                addresses,
                all.iter().copied().filter(|vip| *vip == address).collect::<Vec<_>>(),
                "{name} {kind}"
            );
            assert_eq!(answer.authorities.len(), usize::from(addresses.is_empty()), "no data is said with an SOA");
        }
    }
}

#[test]
fn the_largest_mesh_answers_fit_a_plain_datagram() {
    let longest = [&"x".repeat(63), ".", &"y".repeat(63)].concat();
    let names: Names =
        [(longest.parse().unwrap(), DualStack::Both([127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST))]
            .into_iter()
            .collect();
    let served = Served { names, ..Served::default() };
    for kind in [RecordType::A, RecordType::SOA, RecordType::AAAA] {
        let query = with_edns(query(&format!("{longest}."), kind), 512, EdnsFlags::default());
        let QueryDecision::Reply(bytes, ..) =
            decide(&query.to_vec().unwrap(), Asker::Container, &zones(), Some(&served))
        else {
            panic!("no answer")
        };
        assert!(bytes.len() <= 512, "{}", bytes.len());
    }
}

#[test]
fn malformed_queries_for_mesh_names() {
    let good = query("orders.", RecordType::A).to_vec().unwrap();
    for short in [&good[..0], &good[..2], &good[..11]] {
        assert!(matches!(decided(short), QueryDecision::Ignore));
    }
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(matches!(decided(&edited(2, 0x80)), QueryDecision::Ignore), "a response");
    let QueryDecision::Reply(bytes, AnswerKind::Refused, code) = decided(&edited(11, 1)) else { panic!() };
    assert_eq!((Message::from_vec(&bytes).unwrap().metadata.id, code), (0xbeef, ResponseCode::FormErr));
}

#[test]
fn a_server_that_cannot_be_reached_is_said_with_what_can_be_read_of_the_query() {
    let whole = query("Example.com.", RecordType::TXT);
    let said = Message::from_vec(&unreachable(&whole.to_vec().unwrap()).unwrap()).unwrap();
    assert_eq!((said.metadata.id, said.metadata.response_code), (0xbeef, ResponseCode::ServFail));
    assert_eq!(said.queries, whole.queries);
    let head = unreachable(&whole.to_vec().unwrap()[..12]).unwrap();
    assert_eq!((id(&head), is_response(&head), code(&head)), (0xbeef, true, ResponseCode::ServFail));
}

/// A query for a mesh name or another, with EDNS, of which some bytes were changed.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("orders."), Just("a.b."), Just("example.com.")];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (name, any::<u16>(), edits, 0usize..8).prop_map(|(name, kind, edits, cut)| {
        let message = with_edns(query(name, RecordType::from(kind)), 1232, EdnsFlags::default());
        let mut bytes = message.to_vec().unwrap();
        bytes.truncate(bytes.len() - cut);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_comes_is_survived(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), mangled()],
    ) {
        match decided(&bytes) {
            QueryDecision::Reply(reply, ..) => {
                prop_assert_eq!(bytes[2] & 0x80, 0, "a response was answered");
                prop_assert_eq!(reply[2] & 0x80, 0x80);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply.len() <= 512);
            }
            QueryDecision::Relay => {
                prop_assert_eq!(bytes[2] & 0x80, 0);
                prop_assert!(unreachable(&bytes).is_none_or(|reply| reply[..2] == bytes[..2] && is_response(&reply)));
            }
            QueryDecision::Lease(_) => prop_assert!(false, "nobody asked for it"),
            QueryDecision::Ignore => prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
        }
    }
}
