//! Counts of answered queries. The lease's own queries are not counted: an idle node counts nothing.

use std::fmt;

use hickory_proto::op::ResponseCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;

/// Who decided what a query was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AnswerKind {
    /// The mesh's names.
    Mesh,
    /// The server that was asked.
    Forwarded,
    /// Nobody: the server that was asked cannot be reached, or kept silent.
    Unanswered,
    /// The resolver itself: a query for a mesh name is malformed or of a kind it does not do.
    Refused,
    /// Nobody: the client, or unknown ones together, used up their share.
    Overload,
}

impl EncodeLabelValue for AnswerKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let text = match self {
            Self::Mesh => "mesh",
            Self::Forwarded => "forwarded",
            Self::Unanswered => "unanswered",
            Self::Refused => "refused",
            Self::Overload => "overload",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// A response code under its IANA name; few, whatever strangers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rcode(&'static str);

impl From<ResponseCode> for Rcode {
    fn from(code: ResponseCode) -> Self {
        Self(match code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::FormErr => "FORMERR",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::NotImp => "NOTIMP",
            ResponseCode::Refused => "REFUSED",
            ResponseCode::BADVERS => "BADVERS",
            _ => "OTHER",
        })
    }
}

impl From<Option<ResponseCode>> for Rcode {
    fn from(code: Option<ResponseCode>) -> Self {
        code.map_or(Self("NONE"), Self::from)
    }
}

impl EncodeLabelValue for Rcode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

/// The labels of one count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: AnswerKind,
    rcode: Rcode,
}

/// The resolver's metrics. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ResolverMetrics {
    queries: Family<Labels, Counter>,
}

impl ResolverMetrics {
    /// Registers `dns_queries_total{kind,rcode}`; the registry adds the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let help = "DNS queries answered, by who decided and with which response code";
        registry.register("dns_queries", help, self.queries.clone());
    }

    /// Counts a query; without a code where nothing was sent.
    pub(super) fn count(&self, kind: AnswerKind, code: Option<ResponseCode>) {
        self.queries.get_or_create(&Labels { kind, rcode: code.into() }).inc();
    }

    #[cfg(test)]
    pub(super) fn get(&self, kind: AnswerKind, code: Option<ResponseCode>) -> u64 {
        self.queries.get_or_create(&Labels { kind, rcode: code.into() }).get()
    }

    /// One query counted: a family without series is not scraped.
    #[cfg(test)]
    pub(crate) fn counted() -> Self {
        let metrics = Self::default();
        metrics.count(AnswerKind::Mesh, Some(ResponseCode::NoError));
        metrics
    }
}
