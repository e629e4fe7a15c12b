//! What a query asks and what it is answered with. Pure: bytes and names in, bytes out.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::metrics::AnswerKind;
use super::transport::Transport;
use crate::model::{AliasName, DualStack, Family, Names};

/// The name that only the lease asks for: NOERROR when names are known and others' can be forwarded, else SERVFAIL.
pub(crate) const LEASE_NAME: &str = "_lease.meshdog";

/// How long clients may remember what the mesh said, in seconds. A VIP outlives its endpoints, so this only bounds how
/// long a new name stays unknown and a retired one known.
const TTL: u32 = 5;

/// Largest query that is read, in bytes. Real ones have a few hundred.
pub(super) const MAX_QUERY: usize = 4096;

/// Largest UDP answer that is passed on, in bytes, whatever the client says it takes; more goes over TCP.
pub(super) const MAX_UDP_ANSWER: usize = 4096;

/// The UDP payload size that is announced: what fits one packet nearly everywhere (DNS flag day 2020).
const ANNOUNCED: u16 = 1232;

/// What to do with a message that came.
#[derive(Debug)]
pub(super) enum QueryDecision {
    /// Nothing: it is no query, or too broken to be answered.
    Ignore,
    /// Send these bytes, and count them so.
    Reply(Vec<u8>, AnswerKind, ResponseCode),
    /// Tell the lease whether the resolver is any good. Not counted.
    Lease(ParsedQuery),
    /// Ask an upstream server.
    Forward(ParsedQuery),
}

/// A query that was understood.
#[derive(Debug, Clone)]
pub(super) struct ParsedQuery {
    header: Metadata,
    question: Query,
    edns: Option<Edns>,
}

/// Decides from the names known now; `None` before the mesh's first snapshot.
pub(super) fn decide(bytes: &[u8], names: Option<&Names>) -> QueryDecision {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else { return QueryDecision::Ignore };
    if header.message_type == MessageType::Response {
        return QueryDecision::Ignore;
    }
    let refuse = |code| reply(&response(&header, None, None, code), AnswerKind::Refused);
    if header.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    // The count decides how much the decoder below allocates.
    if header.counts.queries != 1 {
        return refuse(ResponseCode::FormErr);
    }
    let Ok(question) = Query::read(&mut decoder) else { return refuse(ResponseCode::FormErr) };
    let whole = Message::from_vec(bytes);
    let edns = whole.as_ref().ok().and_then(|message| message.edns.clone());
    let asked = ParsedQuery { header: header.metadata, question, edns };

    if matches!(asked.question.query_type, RecordType::AXFR | RecordType::IXFR) {
        // A transfer is many messages, which a relay of one answer would cut short.
        return asked.reply(ResponseCode::Refused, AnswerKind::Refused);
    }
    let Some(alias) = alias(&asked.question) else { return QueryDecision::Forward(asked) };
    if alias.as_str() == LEASE_NAME {
        return QueryDecision::Lease(asked);
    }
    let Some(&vips) = names.and_then(|names| names.get(&alias)) else { return QueryDecision::Forward(asked) };
    match (&whole, &asked.edns) {
        (Err(_), _) => asked.reply(ResponseCode::FormErr, AnswerKind::Refused),
        (_, Some(edns)) if edns.version() > 0 => asked.reply(ResponseCode::BADVERS, AnswerKind::Refused),
        _ => reply(&asked.mesh_answer(vips), AnswerKind::Mesh),
    }
}

impl ParsedQuery {
    /// The answer for a mesh name: a zone of its own, with an SOA and an address record of each family at its top.
    fn mesh_answer(&self, vips: DualStack) -> Message {
        let name = &self.question.name;
        let seconds = TTL.cast_signed();
        // The root as mailbox: nobody to write to.
        let soa = SOA::new(name.clone(), Name::root(), 1, seconds, seconds, seconds, TTL);
        let record = |data| Record::from_rdata(name.clone(), TTL, data);
        let mut message = self.response(ResponseCode::NoError);
        message.metadata.authoritative = true;
        let answer = match self.question.query_type {
            RecordType::A => vips.get(Family::V4).map(address),
            RecordType::AAAA => vips.get(Family::V6).map(address),
            // RFC 8482: one record set is answer enough to ANY.
            RecordType::ANY => Some(address(vips.first())),
            RecordType::SOA => Some(RData::SOA(soa.clone())),
            _ => None,
        };
        match answer {
            Some(data) => message.answers.push(record(data)),
            None => message.authorities.push(record(RData::SOA(soa))),
        }
        message
    }

    fn response(&self, code: ResponseCode) -> Message {
        response(&self.header, Some(&self.question), self.edns.as_ref(), code)
    }

    fn reply(&self, code: ResponseCode, kind: AnswerKind) -> QueryDecision {
        reply(&self.response(code), kind)
    }

    /// An answer without records, such as SERVFAIL.
    pub(super) fn bare(&self, code: ResponseCode) -> Option<Vec<u8>> {
        self.response(code).to_vec().ok()
    }

    /// The id that the client expects its answer under.
    pub(super) fn id(&self) -> u16 {
        self.header.id
    }

    /// Whether a message under `id` answers this question, and with which code. Also taken is an error without
    /// question and records, with which servers turn down what they cannot read.
    pub(super) fn answered_by(&self, bytes: &[u8], id: u16) -> Option<ResponseCode> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        if header.id != id || header.message_type != MessageType::Response || header.op_code != OpCode::Query {
            return None;
        }
        let code = header.response_code;
        let matches = match header.counts.queries {
            0 => header.counts.answers == 0 && (code == ResponseCode::FormErr || is_refusal(code)),
            1 => Query::read(&mut decoder).is_ok_and(|question| question == self.question),
            _ => false,
        };
        matches.then_some(code)
    }

    /// Makes an upstream's answer fit the client: all of it, or over UDP, where it is too large, the question alone
    /// with the bit that sends the client to TCP.
    pub(super) fn fit(&self, transport: Transport, answer: Vec<u8>, code: ResponseCode) -> Option<Vec<u8>> {
        // RFC 6891 6.2.3: values below 512 mean 512; without EDNS it is 512 (RFC 1035 4.2.1).
        let takes = self.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
        if transport == Transport::Tcp || answer.len() <= takes.clamp(512, MAX_UDP_ANSWER) {
            return Some(answer);
        }
        let mut message = self.response(code);
        message.metadata.truncation = true;
        message.to_vec().ok()
    }
}

/// The record of an address, by its family.
fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// Whether the code says that the server, rather than the name, is at fault: another server may know better.
pub(super) fn is_refusal(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

/// Writes another id into a message.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// The alias that a question could mean: class IN, and written as aliases are, but for case.
fn alias(question: &Query) -> Option<AliasName> {
    if question.query_class != DNSClass::IN {
        return None;
    }
    // On the wire a label may hold a dot; such a name is no alias, however it would read when joined.
    let label = |label| std::str::from_utf8(label).ok().filter(|text| !text.contains('.'));
    let labels: Vec<&str> = question.name.iter().map(label).collect::<Option<_>>()?;
    labels.join(".").to_ascii_lowercase().parse().ok()
}

fn response(header: &Metadata, question: Option<&Query>, edns: Option<&Edns>, code: ResponseCode) -> Message {
    let mut message = Message::response(header.id, header.op_code);
    message.metadata = Metadata::response_from_request(header);
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.queries.extend(question.cloned());
    message.edns = edns.map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(ANNOUNCED);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        edns
    });
    message
}

fn reply(message: &Message, kind: AnswerKind) -> QueryDecision {
    let code = message.metadata.response_code;
    message.to_vec().map_or(QueryDecision::Ignore, |bytes| QueryDecision::Reply(bytes, kind, code))
}

#[cfg(test)]
mod tests;
