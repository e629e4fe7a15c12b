//! A node and its fleet in memory: it carries out effects as the real ones would, fails where it is told to, and checks
//! at every effect what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottlerocket_settings::{CommandOutcome, Image, UpdateAction, UpdateStatus};
use jiff::Timestamp;
use meshdog_tests::host::updates::{ForeignLock, Offer, Refusal, Updater};
use semver::Version;

pub(super) use self::chaos::{Chaos, chaos};
use self::checks::Witness;
use self::disk::{Disk, Updog};
pub(super) use self::effects::fails;
use self::fleet::OTHER;
pub(super) use self::fleet::{Fleet, Shared};
use super::super::*;
use crate::config;
use crate::update::fleet::Grant;
use crate::update::verify::{Baseline, Check, Report};

mod chaos;
mod checks;
mod disk;
mod effects;
mod fleet;
mod foreign;

pub(super) const NODE: &str = "node-a";
pub(super) const MAX_ROLLBACKS: u32 = 2;

#[derive(Debug)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) queue: VecDeque<Effect>,
    /// What is on the node's disk, as text: what cannot be read back would be lost.
    journal: String,
    disk: Arc<Mutex<Disk>>,
    updater: Updater,
    boot: u32,
    up: Duration,
    pub(super) wall: Timestamp,
    pub(super) version_lock: String,
    next_version: u64,
    bad: BTreeSet<Version>,
    dead: BTreeSet<Version>,
    sick: bool,
    one_bank: bool,
    api_dead: bool,
    disk_full: bool,
    fleet_down: bool,
    pub(super) fleet: Shared,
    node: &'static str,
    fail: bool,
    going_down: bool,
    witness: Witness,
    /// Every transition that was seen.
    pub(super) edges: BTreeSet<(ProgressKind, &'static str, ProgressKind)>,
    log: Vec<Line>,
}

/// What was done, for the message of a test that fails.
#[derive(Debug)]
enum Line {
    Chaos(Chaos),
    Step(ProgressKind, &'static str, ProgressKind, Vec<&'static str>),
    Boot(u32, Version),
}

pub(super) fn settings(extra: &str) -> Arc<config::UpdateSettings> {
    let text = format!(
        "version = 1\nmesh.namespace = \"prod\"\n[update]\nmode = \"automatic\"\nmax_rollbacks = {MAX_ROLLBACKS}\n\
         delay = \"0s\"\n{extra}\n[update.verify]\ndeadline = \"60s\"\nsettle = \"10s\"\n"
    );
    Arc::new(config::parse(std::path::Path::new("user-data"), &text).unwrap().update)
}

pub(super) fn version(minor: u64) -> Version {
    Version::new(1, minor, 0)
}

impl World {
    /// A node by itself.
    pub(super) fn new() -> Self {
        Self::of(NODE, Fleet::shared(1))
    }

    /// A node of this fleet.
    pub(super) fn of(node: &'static str, fleet: Shared) -> Self {
        let disk = Arc::new(Mutex::new(Disk::new(version(20))));
        let updater = Updater::new(image(&version(20)), Box::new(Updog(disk.clone())));
        let wall = "2026-11-01T00:00:00Z".parse().unwrap();
        Self {
            state: State::new(settings(""), node.into(), Record::default()),
            queue: VecDeque::new(),
            journal: serde_json::to_string(&Record::default()).unwrap(),
            disk,
            updater,
            boot: 1,
            up: Duration::from_secs(30),
            wall,
            version_lock: "latest".to_owned(),
            next_version: 21,
            bad: BTreeSet::new(),
            dead: BTreeSet::new(),
            sick: false,
            one_bank: false,
            api_dead: false,
            disk_full: false,
            fleet_down: false,
            fleet,
            node,
            fail: false,
            going_down: false,
            witness: Witness::new(version(20), wall),
            edges: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn kind(&self) -> ProgressKind {
        ProgressKind::of(&self.state.progress)
    }

    pub(super) fn running(&self) -> Version {
        self.disk.lock().unwrap().running()
    }

    /// The newest version on offer.
    pub(super) fn newest(&self) -> Version {
        self.updater.offer.versions.first().cloned().unwrap_or(version(20))
    }

    /// Whether nobody has the lock.
    pub(super) fn is_free(&self) -> bool {
        self.fleet.lock().unwrap().holders.is_empty()
    }

    fn has_lock(&self) -> bool {
        self.fleet.lock().unwrap().holders.contains(self.node)
    }

    /// What was done so far.
    pub(super) fn story(&self) -> String {
        let mut story = String::new();
        for line in &self.log {
            match line {
                Line::Chaos(chaos) => writeln!(story, "{chaos:?}"),
                Line::Step(from, event, to, effects) => writeln!(story, "{from} --{event}--> {to} {effects:?}"),
                Line::Boot(number, version) => writeln!(story, "boot {number} of {version}"),
            }
            .unwrap();
        }
        story
    }

    pub(super) fn on_disk(&self) -> Record {
        serde_json::from_str(&self.journal).unwrap()
    }

    /// The journal is gone.
    pub(super) fn lose_journal(&mut self) {
        self.journal = serde_json::to_string(&Record::default()).unwrap();
        self.witness.resumed(None);
        self.witness.refused.clear();
        // Nobody knows any more that a rollback set it.
        self.witness.operators_lock = (self.version_lock.clone(), self.wall);
        self.crash();
    }

    pub(super) fn happens(&mut self, chaos: Chaos) {
        if chaos != Chaos::None {
            self.log.push(Line::Chaos(chaos));
        }
        match chaos {
            Chaos::None => self.go_on(),
            Chaos::Fail => self.fail = true,
            Chaos::Crash => self.crash(),
            Chaos::PowerCut => self.reboot(),
            Chaos::Hours(hours) => self.pass(Duration::from_secs(3600 * u64::from(hours))),
            Chaos::Hold => self.command(Command::Hold("by hand".into())),
            Chaos::Resume => {
                self.witness.resumed(self.state.record().update);
                self.command(Command::Resume);
            }
            Chaos::Allow => {
                if let Some(version) = self.witness.refused.pop_last() {
                    self.command(Command::Allow(version));
                }
            }
            Chaos::Check => self.command(Command::Check),
            Chaos::Offer { boots, well } => self.offer(boots, well),
            Chaos::DiskFull(full) => self.disk_full = full,
            Chaos::FleetDown(down) => self.fleet_down = down,
            Chaos::OtherNode(has) => {
                let mut fleet = self.fleet.lock().unwrap();
                if !has {
                    fleet.holders.remove(OTHER);
                } else if fleet.holders.is_empty() {
                    fleet.holders.insert(OTHER);
                }
            }
            Chaos::Foreign(what) => self.foreign(
                [UpdateAction::Refresh, UpdateAction::Prepare, UpdateAction::Activate, UpdateAction::Deactivate]
                    [usize::from(what)],
            ),
            Chaos::ForeignRollback => self.foreign_rollback(),
            Chaos::ForeignLock(what) => self.foreign_lock(what),
            Chaos::BadUpdog(bad) => self.disk.lock().unwrap().bad_updog = bad,
            Chaos::Sick(sick) => self.sick = sick,
            Chaos::OneBank(one) => self.one_bank = one,
            Chaos::DeadApi(dead) => self.api_dead = dead,
            Chaos::Locked(locked) => {
                self.updater.foreign = if locked { ForeignLock::Shared } else { ForeignLock::None };
            }
        }
    }

    pub(super) fn offer(&mut self, boots: bool, well: bool) {
        let new = version(self.next_version);
        self.next_version += 1;
        if !boots {
            self.dead.insert(new.clone());
        }
        if !well {
            self.bad.insert(new.clone());
        }
        let mut versions = std::mem::take(&mut self.updater.offer.versions);
        versions.insert(0, new);
        versions.truncate(3);
        self.updater.offer = Offer { versions, max: None };
    }

    fn go_on(&mut self) {
        match self.queue.pop_front() {
            Some(effect) => self.carry_out(effect),
            None if self.going_down => {
                if matches!(self.kind(), ProgressKind::Rebooting | ProgressKind::RebootingBack) {
                    self.edges.insert((self.kind(), "the host reboots", ProgressKind::Starting));
                }
                self.reboot();
            }
            None => {
                self.pass(self.state.tick_after().max(Duration::from_millis(10)));
                self.event(Event::Tick);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.up += time;
        self.wall += time;
    }

    fn event(&mut self, event: Event) {
        let name = event.name();
        let (next, effects) = match step(&self.state, event, self.now()) {
            Ok(done) => done,
            Err(illegal) => panic!("{illegal}\n{}", self.story()),
        };
        self.stepped(name, next, effects);
    }

    fn command(&mut self, command: Command) {
        let name = command.name();
        let (next, effects) = obey(&self.state, command, self.now());
        self.stepped(name, next, effects);
    }

    fn stepped(&mut self, name: &'static str, next: State, effects: Vec<Effect>) {
        let before = std::mem::replace(&mut self.state, next);
        let (from, to) = (ProgressKind::of(&before.progress), self.kind());
        self.log.push(Line::Step(from, name, to, effects.iter().map(Effect::name).collect()));
        self.edges.insert((from, name, to));
        self.check(&before, name, &effects);
        for effect in effects {
            match effect {
                Effect::Record { record, .. } if !self.disk_full => {
                    self.journal = serde_json::to_string(&record).unwrap();
                    assert_eq!(self.on_disk(), *record, "what is written can be read");
                }
                Effect::Record { essential, .. } => {
                    self.event(Event::NotRecorded { why: "disk full".into(), essential });
                    if essential {
                        break;
                    }
                }
                effect => self.queue.push_back(effect),
            }
        }
    }

    fn crash(&mut self) {
        self.queue.clear();
        self.fail = false;
        self.state = State::new(settings(""), self.node.into(), self.on_disk());
        self.event(Event::Tick);
    }

    /// A bank that does not boot falls back. A boot is marked as successful before any container runs.
    fn reboot(&mut self) {
        let mut disk = self.disk.lock().unwrap();
        loop {
            disk.boot();
            let running = disk.running();
            self.boot += 1;
            self.witness.booted.insert(running.clone());
            let dead = self.dead.contains(&running);
            self.log.push(Line::Boot(self.boot, running));
            if !dead {
                disk.mark_successful();
                break;
            }
        }
        drop(disk);
        self.witness.rebooted();
        self.up = Duration::from_secs(5);
        self.wall += Duration::from_secs(30);
        self.going_down = false;
        let running = image(&self.running());
        self.updater.boot(running);
        self.crash();
    }

    fn boot_id(&self) -> BootId {
        BootId(format!("boot-{}", self.boot).into())
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.wall, boot: self.up }
    }
}

fn image(version: &Version) -> Image {
    Image { arch: "x86_64".to_owned(), version: version.to_string(), variant: "aws-ecs-2".to_owned() }
}

/// How the updates ended that are remembered.
pub(super) fn ends(world: &World) -> BTreeMap<End, usize> {
    let mut ends = BTreeMap::new();
    for past in &world.state.memory.history {
        *ends.entry(past.end).or_default() += 1;
    }
    ends
}
