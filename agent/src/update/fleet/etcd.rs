//! A group's lock and board in etcd, for nodes that have no server to ask.
//!
//! Below `/meshdog/v1/update/<group>/`, each value JSON: `slots` (who holds the lock, `slots`), `rulings/<version>`,
//! `outcomes/<node>` and `reset` (`entries`). Nothing has a lease, since all of it must outlive the reboot that it is
//! about. A holder that never comes back keeps its slot until a person takes it out of `slots`.
//!
//! Every write is a compare-and-swap on what was read, so that one which was repeated, or went to two members, does no
//! harm. Others write below this prefix, too, and need not be meshdog: what is read is bounded and checked.

mod entries;
mod slots;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::warn;
use url::Url;

use self::entries::{Reset, Stored};
use self::slots::{Acquired, Slots};
use super::board::Board;
use super::ruling::{Grant, Outcome, Ruling};
use crate::clients::backoff::Backoff;
use crate::clients::etcd::{self, Range};
use crate::model::untrusted::excerpt;

/// The most rulings that are read, newest first.
const MAX_RULINGS: u32 = 256;
/// The most outcomes that are read, newest first.
const MAX_OUTCOMES: u32 = 10_000;

/// How often a change is tried while others change the same value. Each time somebody's change goes through.
const ATTEMPTS: u32 = 32;
/// Between two of them.
const RETRY: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250)).jittered();

/// Why etcd could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The cluster.
    #[error(transparent)]
    Client(#[from] etcd::Error),
    /// Somebody else has written to the lock.
    #[error("the value of {key} in etcd is no lock; if no node is updating, remove it with `etcdctl del {key}`")]
    NoLock {
        /// The lock's key.
        key: String,
    },
    /// Too many others write.
    #[error("others changed {key} in etcd {ATTEMPTS} times while this node tried to; it may try again later")]
    Busy {
        /// Which value.
        key: String,
    },
}

/// A group of nodes, as etcd knows it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Group {
    client: etcd::Client,
    name: Arc<str>,
    prefix: Arc<str>,
    /// How many entries were skipped when the board was last read, so that a warning is given once.
    skipped: Arc<AtomicUsize>,
}

impl Group {
    pub(super) fn new(endpoints: &[Url], name: &Arc<str>) -> Result<Self, EtcdError> {
        let prefix: Arc<str> = format!("/meshdog/v1/update/{name}/").into();
        let client = etcd::Client::new(endpoints, Arc::clone(&prefix))?;
        Ok(Self { client, name: Arc::clone(name), prefix, skipped: Arc::default() })
    }

    pub(super) async fn acquire(&self, node: &str, max: NonZeroU32) -> Result<Grant, EtcdError> {
        let since = Timestamp::now();
        self.change_slots(|slots| match slots.acquire(node, max, since) {
            Acquired::Already => (None, Grant::Granted),
            Acquired::Taken(slots) => (Some(slots), Grant::Granted),
            Acquired::Full(holders) => {
                let why = format!("group {} is full (max_at_once = {max}): held by {holders}", self.name);
                (None, Grant::Refused(why.into()))
            }
        })
        .await
    }

    pub(super) async fn release(&self, node: &str) -> Result<(), EtcdError> {
        self.change_slots(|slots| (slots.release(node), ())).await
    }

    pub(super) async fn board(&self) -> Result<Board, EtcdError> {
        let (rulings_below, outcomes_below) = (self.key("rulings/"), self.key("outcomes/"));
        let [rulings, outcomes, reset] = self
            .client
            .read([
                Range::newest_below(&rulings_below, MAX_RULINGS),
                Range::newest_below(&outcomes_below, MAX_OUTCOMES),
                Range::one(&self.key("reset")),
            ])
            .await?;
        let (board, skipped) = Stored {
            rulings: entries::named(&rulings_below, rulings),
            outcomes: entries::named(&outcomes_below, outcomes),
            reset: entries::named("", reset),
        }
        .board(Timestamp::now());
        if self.skipped.swap(skipped, Ordering::Relaxed) != skipped && skipped > 0 {
            warn!(below = %self.prefix, entries = skipped, "skipped what is no word of meshdog's in etcd");
        }
        Ok(board)
    }

    pub(super) async fn rule(&self, version: &Version, ruling: &Ruling) -> Result<(), EtcdError> {
        let ruling = Ruling { by: excerpt(&ruling.by), why: excerpt(&ruling.why), ..ruling.clone() };
        self.tell(&self.key(&format!("rulings/{version}")), &ruling).await
    }

    pub(super) async fn report(&self, node: &str, outcome: &Outcome) -> Result<(), EtcdError> {
        self.tell(&self.key(&format!("outcomes/{node}")), outcome).await
    }

    pub(super) async fn reset(&self, at: Timestamp) -> Result<(), EtcdError> {
        self.tell(&self.key("reset"), &Reset { at }).await
    }

    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Writes a word, unless one that is at least as new is there.
    async fn tell<T: entries::Word>(&self, key: &str, word: &T) -> Result<(), EtcdError> {
        let now = Timestamp::now();
        self.change(key, |stored| Ok((entries::is_news(stored, word, now).then(|| json!(word)), ()))).await
    }

    async fn change_slots<T>(&self, decide: impl Fn(Slots) -> (Option<Slots>, T)) -> Result<T, EtcdError> {
        let key = self.key("slots");
        self.change(&key, |stored| {
            let slots = match stored {
                Some(value) => serde_json::from_slice(value).map_err(|_| EtcdError::NoLock { key: key.clone() })?,
                None => Slots::default(),
            };
            let (next, outcome) = decide(slots);
            Ok((next.map(|slots| json!(slots)), outcome))
        })
        .await
    }

    /// Replaces a value by what `decide` makes of it, if it makes something of it, and returns what else `decide` says.
    /// Decides anew each time somebody else was faster.
    async fn change<T>(
        &self,
        key: &str,
        decide: impl Fn(Option<&[u8]>) -> Result<(Option<Value>, T), EtcdError>,
    ) -> Result<T, EtcdError> {
        let mut delays = RETRY.delays();
        for _ in 0..ATTEMPTS {
            let [found] = self.client.read([Range::one(key)]).await?;
            let found = found.into_iter().next();
            let (next, outcome) = decide(found.as_ref().map(|entry| entry.value.as_slice()))?;
            let Some(next) = next else { return Ok(outcome) };
            let revision = found.map_or(0, |entry| entry.mod_revision);
            if self.client.replace(key, revision, next.to_string().as_bytes()).await? {
                return Ok(outcome);
            }
            sleep(delays.wait()).await;
        }
        Err(EtcdError::Busy { key: key.to_owned() })
    }
}
