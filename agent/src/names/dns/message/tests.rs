use hickory_proto::op::EdnsFlags;
use hickory_proto::rr::rdata::opt::EdnsOption;
use proptest::prelude::*;

use super::*;

fn names() -> Names {
    let vip = DualStack::V4([198, 19, 0, 7].into());
    ["orders", "orders.prod", "a.b"].into_iter().map(|name| (name.parse().unwrap(), vip)).collect()
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
    match decide(&message.to_vec().unwrap(), Some(&names())) {
        QueryDecision::Reply(bytes, kind, code) => (Message::from_vec(&bytes).unwrap(), (kind, code)),
        verdict => panic!("{verdict:?}"),
    }
}

fn forwarded(bytes: &[u8]) -> ParsedQuery {
    match decide(bytes, Some(&names())) {
        QueryDecision::Forward(asked) => asked,
        verdict => panic!("{verdict:?}"),
    }
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
        assert_eq!(record.data, RData::A(A::new(198, 19, 0, 7)));
        assert_eq!(record.ttl, 5);
        assert!(answer.authorities.is_empty() && answer.edns.is_none());
    }
}

#[test]
fn case_does_not_matter_and_is_repeated() {
    let query = query("oRDers.PROD.", RecordType::A).to_vec().unwrap();
    let QueryDecision::Reply(answer, ..) = decide(&query, Some(&names())) else { panic!("no answer") };
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
        assert_eq!((record.ttl, soa.minimum), (5, 5), "RFC 2308: the smaller one is how long clients remember");
        assert!(record.name.zone_of(&Name::from_ascii("orders.").unwrap()));
    }
}

#[test]
fn any_soa_and_transfers() {
    let types = |kind| replied(&query("orders.", kind)).0.answers.iter().map(Record::record_type).collect::<Vec<_>>();
    assert_eq!(types(RecordType::ANY), [RecordType::A]);
    assert_eq!(types(RecordType::SOA), [RecordType::SOA]);
    for name in ["orders.", "example.com."] {
        let (answer, count) = replied(&query(name, RecordType::AXFR));
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert_eq!(count, (AnswerKind::Refused, ResponseCode::Refused));
    }
}

#[test]
fn other_names_and_classes_go_upstream() {
    for name in [".", "prod.", "x.orders.", "orders.prod.internal.", "other.prod.", "b."] {
        forwarded(&query(name, RecordType::A).to_vec().unwrap());
    }
    let mut chaos = query("orders.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    forwarded(&chaos.to_vec().unwrap());
    let mut dotted = query(".", RecordType::A);
    dotted.queries[0].name = Name::from_labels([b"a.b".as_slice()]).unwrap();
    forwarded(&dotted.to_vec().unwrap());
}

#[test]
fn before_the_first_snapshot_all_but_the_lease_goes_upstream() {
    let bytes = query("orders.", RecordType::A).to_vec().unwrap();
    assert!(matches!(decide(&bytes, None), QueryDecision::Forward(_)));
    let mut lease = query(LEASE_NAME, RecordType::A);
    lease.queries[0].name.set_fqdn(true);
    let bytes = lease.to_vec().unwrap();
    assert!(matches!(decide(&bytes, None), QueryDecision::Lease(_)));
    assert!(matches!(decide(&bytes, Some(&names())), QueryDecision::Lease(_)));
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
    let (v4, v6): (IpAddr, IpAddr) = ([198, 19, 0, 7].into(), "fd6d::7".parse().unwrap());
    let stacks = [("four", vec![v4]), ("six", vec![v6]), ("both", vec![v4, v6])];
    let names: Names =
        stacks.iter().map(|(name, all)| (name.parse().unwrap(), DualStack::collect(all.clone()).unwrap())).collect();
    for (name, all) in stacks {
        for (kind, address) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let query = query(&format!("{name}."), kind).to_vec().unwrap();
            let QueryDecision::Reply(bytes, ..) = decide(&query, Some(&names)) else { panic!("no answer") };
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
    for kind in [RecordType::A, RecordType::SOA, RecordType::AAAA] {
        let query = with_edns(query(&format!("{longest}."), kind), 512, EdnsFlags::default());
        let QueryDecision::Reply(bytes, ..) = decide(&query.to_vec().unwrap(), Some(&names)) else {
            panic!("no answer")
        };
        assert!(bytes.len() <= 512, "{}", bytes.len());
    }
}

#[test]
fn malformed_queries() {
    let good = query("orders.", RecordType::A).to_vec().unwrap();
    let code = |bytes: &[u8]| match decide(bytes, Some(&names())) {
        QueryDecision::Reply(bytes, AnswerKind::Refused, code) => {
            assert_eq!(Message::from_vec(&bytes).unwrap().metadata.id, 0xbeef);
            code
        }
        verdict => panic!("{verdict:?}"),
    };
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for short in [&good[..0], &good[..2], &good[..11]] {
        assert!(matches!(decide(short, Some(&names())), QueryDecision::Ignore));
    }
    assert!(matches!(decide(&edited(2, 0x80), Some(&names())), QueryDecision::Ignore), "a response");
    assert_eq!(code(&edited(2, 0x28)), ResponseCode::NotImp, "an update");
    assert_eq!(code(&edited(5, 0)), ResponseCode::FormErr, "no question");
    assert_eq!(code(&edited(4, 255)), ResponseCode::FormErr, "65281 questions");
    assert_eq!(code(&good[..good.len() - 1]), ResponseCode::FormErr, "cut short");
    assert_eq!(code(&edited(11, 1)), ResponseCode::FormErr, "a record is promised and missing");
    assert_eq!(code(&edited(12, 0xc0)), ResponseCode::FormErr, "a pointer beyond the end");

    // What cannot be read of a foreign query is the upstream's to judge.
    let mut foreign = query("example.com.", RecordType::A).to_vec().unwrap();
    foreign[11] = 1;
    forwarded(&foreign);
}

#[test]
fn only_the_right_answer_is_taken() {
    let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
    let asked = forwarded(&bytes);
    let answer = |edit: &dyn Fn(&mut Message)| {
        let mut message = query("EXAMPLE.com.", RecordType::A).into_response();
        edit(&mut message);
        asked.answered_by(&message.to_vec().unwrap(), 0xbeef)
    };
    assert_eq!(answer(&|_| {}), Some(ResponseCode::NoError));
    assert_eq!(answer(&|m| m.metadata.response_code = ResponseCode::NXDomain), Some(ResponseCode::NXDomain));
    assert_eq!(answer(&|m| m.metadata.id = 1), None);
    assert_eq!(answer(&|m| m.metadata.message_type = MessageType::Query), None);
    assert_eq!(answer(&|m| m.metadata.op_code = OpCode::Notify), None);
    assert_eq!(answer(&|m| m.queries[0].name = Name::from_ascii("evil.com.").unwrap()), None);
    assert_eq!(answer(&|m| m.queries[0].query_type = RecordType::AAAA), None);
    assert_eq!(answer(&|m| m.queries[0].query_class = DNSClass::CH), None);
    assert_eq!(answer(&|m| m.queries.push(m.queries[0].clone())), None);
    assert_eq!(answer(&|m| m.queries.clear()), None, "an empty success answers nothing");
    let refusal = |m: &mut Message| {
        m.queries.clear();
        m.metadata.response_code = ResponseCode::FormErr;
    };
    assert_eq!(answer(&refusal), Some(ResponseCode::FormErr), "as servers without EDNS do");
    assert_eq!(asked.answered_by(&bytes[..5], 0xbeef), None);
}

#[test]
fn what_does_not_fit_a_datagram_is_cut_and_says_so() {
    // What the client gets instead of the answer, if anything.
    let fit = |query: &Message, transport, size| {
        let bytes = query.to_vec().unwrap();
        let fitted = forwarded(&bytes).fit(transport, vec![7; size], ResponseCode::NoError).unwrap();
        let whole = fitted.len() == size && fitted[0] == 7;
        if whole { None } else { Some(Message::from_vec(&fitted).unwrap()) }
    };
    let plain = query("Example.com.", RecordType::TXT);
    let edns = |payload| with_edns(plain.clone(), payload, EdnsFlags::default());
    assert_eq!(fit(&plain, Transport::Udp, 512), None);
    assert_eq!(fit(&plain, Transport::Tcp, 60_000), None);
    assert_eq!(fit(&edns(1232), Transport::Udp, 1232), None);
    assert_eq!(fit(&edns(0), Transport::Udp, 512), None);
    for (query, size) in [(&plain, 513), (&edns(1232), 1233), (&edns(65535), MAX_UDP_ANSWER + 1)] {
        let cut = fit(query, Transport::Udp, size).unwrap();
        assert!(cut.metadata.truncation && cut.metadata.message_type == MessageType::Response);
        assert_eq!((cut.metadata.id, &cut.queries), (0xbeef, &plain.queries));
        assert_eq!(cut.edns.is_some(), query.edns.is_some());
    }
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
        answer in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        match decide(&bytes, Some(&names())) {
            QueryDecision::Reply(reply, ..) => {
                prop_assert_eq!(bytes[2] & 0x80, 0, "a response was answered");
                prop_assert_eq!(reply[2] & 0x80, 0x80);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply.len() <= 512);
            }
            QueryDecision::Forward(asked) => {
                prop_assert_eq!(bytes[2] & 0x80, 0);
                prop_assert!(asked.bare(ResponseCode::ServFail).is_some());
                let _ = asked.answered_by(&answer, 7);
                prop_assert!(asked.fit(Transport::Udp, vec![0; 5000], ResponseCode::NoError).is_some());
            }
            QueryDecision::Lease(_) => prop_assert!(false, "nobody asked for it"),
            QueryDecision::Ignore => prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
        }
    }
}
