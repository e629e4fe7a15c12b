//! A group's lock and board in etcd, for nodes that have no server to ask.
//!
//! Below `/meshdog/v1/update/<group>/`, each value JSON: `slots` (who holds the lock, `slots`), `rulings/<version>`,
//! `outcomes/<node>` and `reset` (`entries`). Nothing has a lease, since all of it must outlive the reboot that it is
//! about. A holder that never comes back keeps its slot until a person takes it out of `slots`.
//!
//! Every write is a compare-and-swap on what was read, so that one which was repeated, or went to two members, does no
//! harm. Others write below this prefix, too, and need not be meshdog: what is read is bounded and checked.

mod entries;
mod gateway;
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

use super::{Board, FleetError, Grant, Outcome, Ruling, http};
use entries::{Reset, Stored};
use gateway::{Gateway, Range};
use slots::{Acquired, Slots};

/// The most rulings that are read, newest first.
const MAX_RULINGS: u32 = 256;
/// The most outcomes that are read, newest first.
const MAX_OUTCOMES: u32 = 10_000;

/// How often a change is tried while others change the same value. Each time somebody's change goes through.
const ATTEMPTS: u32 = 32;
/// The longest wait before the second attempt; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Why etcd could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
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
    gateway: Gateway,
    name: Arc<str>,
    prefix: Arc<str>,
    /// How many entries were skipped when the board was last read, so that a warning is given once.
    skipped: Arc<AtomicUsize>,
}

impl Group {
    pub(super) fn new(endpoints: &[Url], name: &Arc<str>) -> Result<Self, FleetError> {
        let prefix: Arc<str> = format!("/meshdog/v1/update/{name}/").into();
        let gateway = Gateway::new(endpoints, Arc::clone(&prefix))?;
        Ok(Self { gateway, name: Arc::clone(name), prefix, skipped: Arc::default() })
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
            .gateway
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
        let ruling = Ruling { by: http::one_line(&ruling.by), why: http::one_line(&ruling.why), ..ruling.clone() };
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
        let mut longest = FIRST_WAIT;
        for _ in 0..ATTEMPTS {
            let [found] = self.gateway.read([Range::one(key)]).await?;
            let found = found.into_iter().next();
            let (next, outcome) = decide(found.as_ref().map(|entry| entry.value.as_slice()))?;
            let Some(next) = next else { return Ok(outcome) };
            let revision = found.map_or(0, |entry| entry.mod_revision);
            if self.gateway.replace(key, revision, next.to_string().as_bytes()).await? {
                return Ok(outcome);
            }
            sleep(longest.mul_f64(fastrand::f64())).await;
            longest = (longest * 2).min(LONGEST_WAIT);
        }
        Err(EtcdError::Busy { key: key.to_owned() })
    }
}
