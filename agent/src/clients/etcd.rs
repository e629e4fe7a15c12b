//! The one client of etcd: its v3 API by the JSON gateway, reads and compare-and-swaps, each one transaction.
//!
//! Owns which member answered last; that one is asked first. A member that cannot be reached, or cannot serve, is
//! passed over for the next. By JSON, since etcd's gRPC would want a protobuf compiler wherever meshdog is built.
//!
//! Format: <https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>, the same from 3.4 on: bytes are base64, 64-bit
//! numbers are strings, and fields that are zero or empty are left out. Errors have a `message`; only before 3.6 an
//! `error` too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use url::Url;

use super::http::{self, StatusCode};
use crate::model::{error_chain, untrusted};

/// The longest answer that is read, in bytes. Ten thousand small values take 3 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// A member that has lost the others needs about 7 s to say so.
const LIMITS: http::Limits = http::Limits::new(Duration::from_secs(10), MAX_ANSWER).connect(Duration::from_secs(3));

/// Why etcd could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no HTTP at all on this machine.
    #[error("etcd cannot be asked")]
    Client(#[source] http::Error),
    /// No member answered in a way that made sense. Whether a change was made is not known.
    #[error("no etcd member answered ({tried}); check registry.etcd.endpoints, and that this node can reach them")]
    NoMember {
        /// Each endpoint, and what went wrong there.
        tried: String,
    },
    /// A member answered that it will not.
    #[error("etcd at {endpoint} refused: {words}")]
    Refused {
        /// The member that was asked.
        endpoint: Url,
        /// Its own words, bounded.
        words: Arc<str>,
    },
    /// There are more bytes below our keys than meshdog would have written.
    #[error("etcd at {endpoint} answered with too much; look for strange values with `etcdctl get --prefix {prefix}`")]
    TooMuch {
        /// The member that was asked.
        endpoint: Url,
        /// Below which keys.
        prefix: Arc<str>,
    },
}

/// The members of a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: http::Client,
    /// Each member's endpoint, and the address of its transactions.
    members: Arc<[(Url, Url)]>,
    /// The member that answered last.
    last: Arc<AtomicUsize>,
    /// Below which keys all is that is asked for; for error messages.
    prefix: Arc<str>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The cluster's revision at which it was last written.
    pub mod_revision: i64,
}

/// Which keys to read.
#[derive(Debug, Clone)]
pub struct Range(Value);

impl Range {
    /// One key.
    #[must_use]
    pub fn one(key: &str) -> Self {
        Self(json!({ "request_range": { "key": encode(key) } }))
    }

    /// Of the keys that begin with `prefix`, which ends in a slash, so many that were written last.
    #[must_use]
    pub fn newest_below(prefix: &str, limit: u32) -> Self {
        // '0' comes after '/'.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        Self(json!({ "request_range": {
            "key": encode(prefix), "range_end": encode(end), "limit": limit.to_string(),
            "sort_order": "DESCEND", "sort_target": "MOD",
        } }))
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    /// Always there, which tells etcd from others that answer 200.
    #[serde(rename = "header")]
    _header: IgnoredAny,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    response_range: Option<RangeResponse>,
}

#[derive(Debug, Deserialize)]
struct RangeResponse {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: String,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

/// Why a member did not do what it was asked.
enum Failure {
    /// Another may.
    Member(String),
    /// So would every other.
    Final(Error),
}

impl Client {
    /// A client of the cluster with these endpoints. `prefix`: below which keys all is that will be asked for. Nothing
    /// is connected yet.
    ///
    /// # Errors
    /// [`Error::Client`].
    pub fn new(endpoints: &[Url], prefix: Arc<str>) -> Result<Self, Error> {
        let member = |endpoint: &Url| (endpoint.clone(), http::below(endpoint, &["v3", "kv", "txn"]));
        let members = endpoints.iter().map(member).collect();
        let http = http::Client::new(LIMITS).map_err(Error::Client)?;
        Ok(Self { http, members, last: Arc::default(), prefix })
    }

    /// What is in these ranges, all at one revision.
    ///
    /// # Errors
    /// [`Error::NoMember`], [`Error::Refused`], [`Error::TooMuch`].
    pub async fn read<const N: usize>(&self, ranges: [Range; N]) -> Result<[Vec<Entry>; N], Error> {
        let txn = json!({ "success": ranges.map(|range| range.0).as_slice() });
        self.transact(&txn, |answer| {
            let ranges: Option<Vec<_>> = answer.responses.into_iter().map(entries).collect();
            ranges?.try_into().ok()
        })
        .await
    }

    /// Writes a value if nobody has since `revision` (0: since ever); says whether it did.
    ///
    /// # Errors
    /// [`Error::NoMember`], [`Error::Refused`]. It may have been written all the same.
    pub async fn replace(&self, key: &str, revision: i64, value: &[u8]) -> Result<bool, Error> {
        let key = encode(key);
        let txn = json!({
            "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string() }],
            "success": [{ "request_put": { "key": key, "value": encode(value) } }],
        });
        self.transact(&txn, |answer| Some(answer.succeeded)).await
    }

    /// A transaction, by the first member that makes sense of it. It may have been made more than once.
    async fn transact<T>(&self, txn: &Value, read: impl Fn(Answer) -> Option<T>) -> Result<T, Error> {
        let first = self.last.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        for offset in 0..self.members.len() {
            let index = (first + offset) % self.members.len();
            let Some((endpoint, url)) = self.members.get(index) else { break };
            let failure = match self.ask(endpoint, url, txn).await.map(&read) {
                Ok(Some(read)) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(read);
                }
                Ok(None) => "its answer makes no sense".to_owned(),
                Err(Failure::Member(failure)) => failure,
                Err(Failure::Final(error)) => return Err(error),
            };
            tried.push(format!("{endpoint}: {failure}"));
        }
        Err(Error::NoMember { tried: tried.join("; ") })
    }

    async fn ask(&self, endpoint: &Url, url: &Url, txn: &Value) -> Result<Answer, Failure> {
        let lost = |error: http::Error| match error {
            http::Error::TooLong(_) => {
                let (endpoint, prefix) = (endpoint.clone(), Arc::clone(&self.prefix));
                Failure::Final(Error::TooMuch { endpoint, prefix })
            }
            error => Failure::Member(error_chain(&error)),
        };
        let answer = self.http.post(url).json(txn).send().await.map_err(lost)?;
        let status = answer.status();
        let body = answer.body().await.map_err(lost)?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|_| Failure::Member("its answer is not that of etcd's JSON gateway".to_owned()));
        }
        match serde_json::from_slice(&body) {
            Ok(Refusal { message }) if status.is_client_error() => {
                Err(Failure::Final(Error::Refused { endpoint: endpoint.clone(), words: untrusted::excerpt(&message) }))
            }
            // No leader, or no answer from it in time.
            Ok(Refusal { message }) => Err(Failure::Member(format!("{status}, {}", untrusted::excerpt(&message)))),
            Err(_) => Err(Failure::Member(format!("{status}; is its JSON gateway on (--enable-grpc-gateway)?"))),
        }
    }
}

/// A range's entries; `None` if the response is to something else, or makes no sense.
fn entries(response: Response) -> Option<Vec<Entry>> {
    let entry = |found: KeyValue| {
        let (key, value) = (STANDARD.decode(found.key).ok()?, STANDARD.decode(found.value).ok()?);
        Some(Entry { key, value, mod_revision: found.mod_revision.parse().ok()? })
    };
    response.response_range?.kvs.into_iter().map(entry).collect()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests;
