//! What a query asks and what it is answered with. Pure: bytes and names in, bytes out. Only as much is read of a message
//! as tells whether it is a plain query for a name of the mesh; any other goes on as it is.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::asker::Asker;
use super::metrics::AnswerKind;
use super::zones::{Standing, Zones};
use crate::model::{DualStack, Family};
use crate::names::served::Served;

/// The name that only the lease asks for: NOERROR when names are known and others' can be relayed, else SERVFAIL.
pub(crate) const LEASE_NAME: &str = "_lease.meshdog";

/// How long clients may remember a name's address, in seconds. A VIP outlives its endpoints, so this only bounds how
/// long a retired name stays known.
const TTL: u32 = 5;
/// How long clients may remember that something is not there, in seconds: it may come at any moment.
const NEGATIVE_TTL: u32 = 1;

/// Length of a message's header, in bytes (RFC 1035 4.1.1). What is shorter is no message.
const HEADER: usize = 12;
/// In the third byte of the header: set in answers, clear in queries.
const RESPONSE: u8 = 0x80;
/// In the fourth byte: the response code, without what EDNS adds.
const CODE: u8 = 0x0f;

/// The UDP payload size that is announced: what fits one packet nearly everywhere (DNS flag day 2020).
const ANNOUNCED: u16 = 1232;

/// What to do with a message that came.
#[derive(Debug)]
pub(super) enum QueryDecision {
    /// Nothing: it is no query.
    Ignore,
    /// Send these bytes, and count them so.
    Reply(Vec<u8>, AnswerKind, ResponseCode),
    /// Tell the lease whether the resolver is any good. Not counted.
    Lease(ParsedQuery),
    /// Pass it on to the server that was asked.
    Relay,
}

/// A query that was understood.
#[derive(Debug, Clone)]
pub(super) struct ParsedQuery {
    header: Metadata,
    question: Query,
    edns: Option<Edns>,
}

/// Decides by what is known now; `None` before anything is.
pub(super) fn decide(bytes: &[u8], asker: Asker, zones: &Zones, served: Option<&Served>) -> QueryDecision {
    if bytes.len() < HEADER || is_response(bytes) {
        return QueryDecision::Ignore;
    }
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else { return QueryDecision::Relay };
    // The count decides how much the decoder below allocates.
    if header.op_code != OpCode::Query || header.counts.queries != 1 {
        return QueryDecision::Relay;
    }
    let Ok(question) = Query::read(&mut decoder) else { return QueryDecision::Relay };
    let of_lease = question.name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(LEASE_NAME);
    let standing = zones.standing(asker, &question, served);
    if standing == Standing::Foreign && !of_lease {
        return QueryDecision::Relay;
    }
    let whole = Message::from_vec(bytes);
    let edns = whole.as_ref().ok().and_then(|message| message.edns.clone());
    let asked = ParsedQuery { header: header.metadata, question, edns };
    match &asked.edns {
        _ if of_lease => QueryDecision::Lease(asked),
        _ if whole.is_err() => asked.refuse(ResponseCode::FormErr),
        Some(edns) if edns.version() > 0 => asked.refuse(ResponseCode::BADVERS),
        // A transfer is of a zone, and nobody here has one to give away.
        _ if matches!(asked.question.query_type, RecordType::AXFR | RecordType::IXFR) => {
            asked.refuse(ResponseCode::Refused)
        }
        _ => asked.mesh_answer(standing).map_or(QueryDecision::Relay, |message| reply(&message, AnswerKind::Mesh)),
    }
}

/// Whether a message is an answer.
pub(super) fn is_response(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & RESPONSE != 0)
}

/// The response code of an answer, without what EDNS adds.
pub(super) fn code(answer: &[u8]) -> ResponseCode {
    ResponseCode::from(0, answer.get(3).map_or(0, |flags| flags & CODE))
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// Writes another id into a message.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// The answer to a query whose server cannot be reached: SERVFAIL, with as much of the query as can be read.
pub(super) fn unreachable(query: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(query);
    let header = Header::read(&mut decoder).ok()?;
    let question = if header.counts.queries == 1 { Query::read(&mut decoder).ok() } else { None };
    let edns = Message::from_vec(query).ok().and_then(|message| message.edns);
    response(&header.metadata, question.as_ref(), edns.as_ref(), ResponseCode::ServFail).to_vec().ok()
}

impl ParsedQuery {
    /// The answer for a name that is the mesh's; `None`: it is not.
    fn mesh_answer(&self, standing: Standing) -> Option<Message> {
        let own = self.question.name.clone();
        match standing {
            Standing::Vips(vips) => Some(self.positive(self.data(vips), own)),
            Standing::Pointer(name) => {
                let asked = matches!(self.question.query_type, RecordType::PTR | RecordType::ANY);
                let name = Name::from_labels(name.as_str().split('.').map(str::as_bytes)).ok().filter(|_| asked);
                Some(self.positive(name.map(|name| RData::PTR(PTR(name))), own))
            }
            Standing::Empty => Some(self.positive(None, own)),
            Standing::Absent(zone) => Some(self.negative(ResponseCode::NXDomain, zone)),
            Standing::Unknown => Some(self.response(ResponseCode::ServFail)),
            Standing::Foreign => None,
        }
    }

    /// The record that is asked for of a name with these addresses, if it has one: a zone of its own, with an SOA and an
    /// address record of each family at its top.
    fn data(&self, vips: DualStack) -> Option<RData> {
        match self.question.query_type {
            RecordType::A => vips.get(Family::V4).map(address),
            RecordType::AAAA => vips.get(Family::V6).map(address),
            // RFC 8482: one record set is answer enough to ANY.
            RecordType::ANY => Some(address(vips.first())),
            RecordType::SOA => Some(soa(self.question.name.clone())),
            _ => None,
        }
    }

    fn positive(&self, answer: Option<RData>, zone: Name) -> Message {
        let Some(data) = answer else { return self.negative(ResponseCode::NoError, zone) };
        let mut message = self.response(ResponseCode::NoError);
        message.metadata.authoritative = true;
        message.answers.push(Record::from_rdata(self.question.name.clone(), TTL, data));
        message
    }

    /// That there is nothing, as a zone says it (RFC 2308 3).
    fn negative(&self, code: ResponseCode, zone: Name) -> Message {
        let mut message = self.response(code);
        message.metadata.authoritative = true;
        message.authorities.push(Record::from_rdata(zone.clone(), NEGATIVE_TTL, soa(zone)));
        message
    }

    fn response(&self, code: ResponseCode) -> Message {
        response(&self.header, Some(&self.question), self.edns.as_ref(), code)
    }

    fn refuse(&self, code: ResponseCode) -> QueryDecision {
        reply(&self.response(code), AnswerKind::Refused)
    }

    /// An answer without records, such as SERVFAIL.
    pub(super) fn bare(&self, code: ResponseCode) -> Option<Vec<u8>> {
        self.response(code).to_vec().ok()
    }
}

/// The record of an address, by its family.
fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// The head of a zone; the root as mailbox: nobody to write to.
fn soa(zone: Name) -> RData {
    let seconds = TTL.cast_signed();
    RData::SOA(SOA::new(zone, Name::root(), 1, seconds, seconds, seconds, NEGATIVE_TTL))
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
