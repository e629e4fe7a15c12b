//! `[update]`: whether, when and how carefully this node takes an update of its OS. Types, and how they are read.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use toml::de::DeValue;
use url::Url;

use super::EtcdSettings;
use super::reader::{TomlTable, fraction, parsed, text, whole, word};
use super::values::{duration, http_url, tcp_address};
use super::window::Window;
use crate::model::DiscoveryName;

const MAX_ENTRIES: usize = 64;
const MAX_GROUP: usize = 64;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `[update]`.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateSettings {
    /// How far meshdog goes by itself.
    pub mode: UpdateMode,
    /// When an update may begin; empty: at any time. See [`Self::open`].
    pub windows: Vec<Window>,
    /// How long after a version was first seen it is taken.
    pub delay: Duration,
    /// Over how long the nodes of a fleet spread a version out, on top of `delay`; zero: no node waits for another.
    /// Where in it this node stands, its `settings.updates.seed` (0 to 2047) says.
    pub wave: Duration,
    /// Versions that are never taken here, whatever the fleet says.
    pub refuse: Vec<Version>,
    /// How long draining may take.
    pub drain: Duration,
    /// After so many rollbacks updates are held until a person says resume.
    pub max_rollbacks: u32,
    /// How an update is judged.
    pub verify: VerifySettings,
    /// How nodes take turns.
    pub fleet: FleetSettings,
}

impl UpdateSettings {
    /// Whether an update may begin at this instant.
    #[must_use]
    pub fn open(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.contains(now))
    }

    /// When an update may begin next: now, if it may now. See [`Window::next_open`].
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        if self.open(now) { Some(now) } else { self.windows.iter().filter_map(|window| window.next_open(now)).min() }
    }
}

/// `update.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Nothing is asked, nothing is done.
    Off,
    /// Updates are looked for and shown.
    Check,
    /// Updates are taken, verified, and taken back where workloads do worse.
    Automatic,
}

/// `[update.verify]`: what makes an update good.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// No verdict within this time is a bad verdict. Longer than `settle`.
    pub deadline: Duration,
    /// How long every check must hold.
    pub settle: Duration,
    /// The part of the endpoints healthy here before the update that must be healthy after it, 0 to 1.
    pub min_healthy: f64,
    /// Services of this node's namespace that must be healthy here.
    pub services: Vec<DiscoveryName>,
    /// Addresses that must answer.
    pub http: Vec<Url>,
    /// Addresses that must take a connection.
    pub tcp: Vec<SocketAddr>,
}

/// `[update.fleet]`: how the nodes of a fleet take turns, and stop each other.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetSettings {
    /// Who is asked.
    pub lock: FleetLock,
    /// Nodes of one group take turns with each other.
    pub group: Arc<str>,
    /// How many nodes of the group may update at one time.
    pub max_at_once: NonZeroU32,
    /// While more than this part of the fleet's recent updates were taken back, and at least two, no node begins one.
    /// 0 to 1; 1 never holds anything back.
    pub breaker: f64,
    /// Where the nodes of the group tell each other which versions are bad, whoever gives the lock: the cluster of
    /// `[registry.etcd]`, if there is one.
    pub board: Option<EtcdSettings>,
}

/// `update.fleet.lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetLock {
    /// Nobody: this node stands alone.
    None,
    /// A server that speaks the FleetLock protocol, at this base address.
    FleetLock(Url),
    /// An etcd cluster.
    Etcd(EtcdSettings),
}

/// Reads `[update]`. `etcd` is what `[registry.etcd]` says.
pub(super) fn read(table: &mut TomlTable<'_, '_>, etcd: Option<&EtcdSettings>) -> UpdateSettings {
    const MODES: [(&str, UpdateMode); 3] =
        [("off", UpdateMode::Off), ("check", UpdateMode::Check), ("automatic", UpdateMode::Automatic)];
    let windows = table.list("window", 0..=MAX_ENTRIES, parsed::<Window>).unwrap_or_default();
    let refuse = table.list("refuse", 0..=MAX_ENTRIES, version).unwrap_or_default();
    UpdateSettings {
        mode: table.get("mode", word(&MODES)).unwrap_or(UpdateMode::Off),
        windows: windows.into_iter().map(toml::Spanned::into_inner).collect(),
        delay: table.get("delay", duration(Duration::ZERO..=365 * DAY)).unwrap_or(DAY),
        wave: table.get("wave", duration(Duration::ZERO..=30 * DAY)).unwrap_or(Duration::ZERO),
        refuse: refuse.into_iter().map(toml::Spanned::into_inner).collect(),
        drain: table.get("drain", duration(Duration::ZERO..=DAY)).unwrap_or(Duration::from_secs(300)),
        max_rollbacks: table.get("max_rollbacks", whole(0..=100)).unwrap_or(2),
        verify: table.table("verify", "[update.verify]", verify),
        fleet: table.table("fleet", "[update.fleet]", |table| fleet(table, etcd)),
    }
}

fn verify(table: &mut TomlTable<'_, '_>) -> VerifySettings {
    let deadline = table.get("deadline", duration(Duration::from_secs(1)..=DAY));
    let settle = table.get("settle", duration(Duration::ZERO..=12 * HOUR));
    let services = table.list("services", 0..=MAX_ENTRIES, parsed::<DiscoveryName>).unwrap_or_default();
    let http = table.list("http", 0..=MAX_ENTRIES, http_url).unwrap_or_default();
    let tcp = table.list("tcp", 0..=MAX_ENTRIES, tcp_address).unwrap_or_default();
    let settings = VerifySettings {
        deadline: deadline.unwrap_or(Duration::from_secs(600)),
        settle: settle.unwrap_or(Duration::from_secs(120)),
        min_healthy: table.get("min_healthy", fraction).unwrap_or(0.9),
        services: services.into_iter().map(toml::Spanned::into_inner).collect(),
        http: http.into_iter().map(toml::Spanned::into_inner).collect(),
        tcp: tcp.into_iter().map(toml::Spanned::into_inner).collect(),
    };
    let both_readable = deadline.is_some() == table.has("deadline") && settle.is_some() == table.has("settle");
    if both_readable && settings.settle >= settings.deadline {
        let (key, advice) = match deadline {
            Some(_) => ("deadline", "write a longer one"),
            None => ("settle", "write a shorter one, or a longer `deadline`"),
        };
        let (deadline, settle) = (settings.deadline, settings.settle);
        table.fault(key, format!("no check could settle ({settle:?}) before the deadline ({deadline:?}); {advice}"));
    }
    settings
}

fn fleet(table: &mut TomlTable<'_, '_>, etcd: Option<&EtcdSettings>) -> FleetSettings {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        FleetLock,
        Etcd,
    }
    const KINDS: [(&str, Kind); 3] = [("none", Kind::None), ("fleetlock", Kind::FleetLock), ("etcd", Kind::Etcd)];
    let url = table.get("url", http_url);
    let lock = match (table.get("lock", word(&KINDS)).unwrap_or(Kind::None), url, etcd) {
        (Kind::None, ..) => FleetLock::None,
        (Kind::FleetLock, Some(url), _) => FleetLock::FleetLock(url),
        (Kind::FleetLock, None, _) => {
            table.require("url", "write the lock server's address, such as url = \"http://127.0.0.1:3333\"");
            FleetLock::None
        }
        (Kind::Etcd, _, Some(etcd)) => FleetLock::Etcd(etcd.clone()),
        (Kind::Etcd, _, None) => {
            table.fault("lock", "etcd has no endpoints; write them as `endpoints` in [registry.etcd]");
            FleetLock::None
        }
    };
    FleetSettings {
        lock,
        group: table.get("group", group).unwrap_or_else(|| "default".into()),
        max_at_once: table
            .get("max_at_once", whole(1..=10_000_u32))
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN),
        breaker: table.get("breaker", fraction).unwrap_or(0.25),
        board: etcd.cloned(),
    }
}

/// A version as Bottlerocket writes it, with or without a `v` in front.
fn version(value: &DeValue<'_>) -> Result<Version, String> {
    let found = text(value)?;
    let number = found.strip_prefix('v').unwrap_or(found);
    Version::parse(number).map_err(|_| format!("{found:?} is not a version; write three numbers, such as 1.21.1"))
}

/// A group as the FleetLock protocol allows it: letters, digits, `.` and `-`
/// (<https://coreos.github.io/zincati/development/fleetlock/protocol/>).
fn group(value: &DeValue<'_>) -> Result<Arc<str>, String> {
    let group = text(value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if group.is_empty() || group.len() > MAX_GROUP || !group.chars().all(allowed) {
        return Err(format!("{group:?} is not a group; write 1 to {MAX_GROUP} letters, digits, '.' or '-'"));
    }
    Ok(group.into())
}
