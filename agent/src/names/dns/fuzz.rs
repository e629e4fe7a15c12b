//! What must hold of every query, and of whatever comes as an upstream's answer.

use hickory_proto::op::{Message, MessageType, ResponseCode};

use super::message::{MAX_UDP_ANSWER, ParsedQuery, QueryDecision, decide, set_id};
use super::metrics::AnswerKind;
use super::transport::Transport;
use crate::model::{DualStack, Names};

/// What every client takes over UDP (RFC 1035 4.2.1).
const PLAIN_UDP: usize = 512;

/// A DNS message, as a query and as an answer.
pub fn dns(bytes: &[u8]) {
    let names: Names = ["orders", "orders.prod", "a.b"]
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, DualStack::V4([198, 19, 0, 7].into()))))
        .collect();
    as_query(bytes, Some(&names));
    as_query(bytes, None);
    // "www.example.", type A.
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
    if let QueryDecision::Forward(asked) = decide(question, Some(&names)) {
        as_answer(&asked, bytes);
    }
}

fn as_query(bytes: &[u8], names: Option<&Names>) {
    let asked = match decide(bytes, names) {
        QueryDecision::Ignore => return,
        QueryDecision::Reply(reply, kind, code) => {
            assert!(kind == AnswerKind::Refused || (kind == AnswerKind::Mesh && names.is_some()), "{kind:?}");
            assert!(is_answer(&reply, bytes, code), "{reply:?} answers {bytes:?}");
            return;
        }
        QueryDecision::Lease(asked) | QueryDecision::Forward(asked) => asked,
    };
    assert_eq!(asked.id().to_be_bytes(), *bytes.first_chunk().unwrap_or(&[0; 2]));
    let bare = asked.bare(ResponseCode::ServFail).unwrap_or_default();
    assert!(is_answer(&bare, bytes, ResponseCode::ServFail), "{bare:?} answers {bytes:?}");
    assert_eq!(asked.answered_by(&bare, asked.id()), Some(ResponseCode::ServFail), "its own answer is none");
    as_answer(&asked, bytes);
    for (transport, most) in [(Transport::Udp, MAX_UDP_ANSWER), (Transport::Tcp, usize::from(u16::MAX))] {
        let fits = asked.fit(transport, vec![0; usize::from(u16::MAX)], ResponseCode::NoError);
        assert!(fits.is_some_and(|fits| fits.len() <= most));
    }
}

/// Whether a reply is one to these bytes that a client of any kind can take.
fn is_answer(reply: &[u8], query: &[u8], code: ResponseCode) -> bool {
    let Ok(message) = Message::from_vec(reply) else { return false };
    reply.len() <= PLAIN_UDP
        && reply.first_chunk::<2>() == query.first_chunk()
        && message.metadata.message_type == MessageType::Response
        && message.metadata.response_code.low() == code.low()
        && message.queries.len() <= 1
}

fn as_answer(asked: &ParsedQuery, bytes: &[u8]) {
    let id = asked.id();
    let mut answer = bytes.to_vec();
    set_id(&mut answer, id);
    assert_eq!(asked.answered_by(&answer, id.wrapping_add(1)), None, "under another id");
    if let Some(code) = asked.answered_by(&answer, id) {
        // The bit that tells answers from queries, and the code without what EDNS adds (RFC 1035 4.1.1).
        let flags = answer.get(2..4).unwrap_or_default();
        assert!(matches!(flags, [first, second] if first & 0x80 != 0 && second & 0xf == code.low()), "{answer:?}");
    }
}
