//! What must hold of every message that comes as a query.

use hickory_proto::op::{Message, MessageType, ResponseCode};

use super::asker::Asker;
use super::message::{QueryDecision, decide, id, is_response, unreachable};
use super::metrics::AnswerKind;
use super::zones::Zones;
use crate::model::{DualStack, Names, Namespace, VipRanges};
use crate::names::served::Served;

/// What every client takes over UDP (RFC 1035 4.2.1).
const PLAIN_UDP: usize = 512;

/// A DNS message, as a query.
pub fn dns(bytes: &[u8]) {
    let vip = DualStack::V4([198, 19, 0, 7].into());
    let names: Names =
        ["orders", "orders.prod", "a.b"].into_iter().filter_map(|name| Some((name.parse().ok()?, vip))).collect();
    let served = Served { names, ..Served::default() };
    let namespaces: Vec<Namespace> = ["prod", "eu.shop"].iter().filter_map(|name| name.parse().ok()).collect();
    for (served, authoritative) in [(Some(&served), true), (Some(&served), false), (None, true)] {
        let zones = Zones::new(&namespaces, authoritative, VipRanges::default());
        for asker in [Asker::Container, Asker::Host] {
            as_query(bytes, &zones, asker, served);
        }
    }
}

fn as_query(bytes: &[u8], zones: &Zones, asker: Asker, served: Option<&Served>) {
    match decide(bytes, asker, zones, served) {
        QueryDecision::Ignore => assert!(bytes.len() < 12 || is_response(bytes), "{bytes:?} is ignored"),
        QueryDecision::Reply(reply, kind, code) => {
            assert!(matches!(kind, AnswerKind::Refused | AnswerKind::Mesh), "{kind:?}");
            assert!(is_answer(&reply, bytes, code), "{reply:?} answers {bytes:?}");
        }
        QueryDecision::Lease(asked) => {
            let bare = asked.bare(ResponseCode::ServFail).unwrap_or_default();
            assert!(is_answer(&bare, bytes, ResponseCode::ServFail), "{bare:?} answers {bytes:?}");
        }
        QueryDecision::Relay => {
            if let Some(reply) = unreachable(bytes) {
                assert!(is_answer(&reply, bytes, ResponseCode::ServFail), "{reply:?} answers {bytes:?}");
            }
        }
    }
}

/// Whether a reply is one to these bytes that a client of any kind can take.
fn is_answer(reply: &[u8], query: &[u8], code: ResponseCode) -> bool {
    let Ok(message) = Message::from_vec(reply) else { return false };
    reply.len() <= PLAIN_UDP + query.len()
        && id(reply) == id(query)
        && message.metadata.message_type == MessageType::Response
        && message.metadata.response_code.low() == code.low()
        && message.queries.len() <= 1
}
