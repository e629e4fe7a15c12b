//! A node and its fleet in memory: it carries out effects as the real ones would, fails where it is told to, and checks
//! at every effect what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottlerocket_settings::{CommandOutcome, Image, UpdateAction, UpdateStatus};
use jiff::Timestamp;
use meshdog_tests::host::updates::{Offer, Updater};
use semver::Version;

pub(super) use self::chaos::{Chaos, chaos};
use self::checks::Witness;
use self::disk::{Disk, Updog};
use self::fleet::OTHER;
pub(super) use self::fleet::{Fleet, Shared};
use super::super::*;
use crate::config;
use crate::update::fleet::Grant;
use crate::update::verify::{Baseline, Check, Report};

mod chaos;
mod checks;
mod disk;
mod fleet;

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
            Chaos::ForeignRollback => {
                let mut disk = self.disk.lock().unwrap();
                let before = disk.banks().next();
                let turned = disk.roll_back().is_ok() && disk.banks().next() != before;
                drop(disk);
                self.pass(Duration::from_millis(1));
                if turned {
                    self.witness.turned(self.wall);
                }
            }
            Chaos::ForeignLock(what) => {
                let versions = &self.updater.offer.versions;
                let lock = match what {
                    0 => "latest".to_owned(),
                    1 => self.running().to_string(),
                    2 => format!("v{}", versions.first().unwrap_or(&version(20))),
                    _ => versions.last().unwrap_or(&version(20)).to_string(),
                };
                // What a rollback would write, too, says nothing of who wrote it.
                let pins = [self.state.memory.pin.clone(), self.on_disk().memory.pin];
                match pins.map(|pin| pin.filter(|pin| pin.keeps(&lock)).map(|pin| pin.before)) {
                    [None, None] => self.witness.operators_lock = (lock.clone(), self.wall),
                    [Some(before), Some(_)] => self.witness.operators_lock = (before, self.wall),
                    // It would depend on whether the agent is restarted before its journal can be written.
                    _ => return,
                }
                self.version_lock = lock;
            }
            Chaos::BadUpdog(bad) => self.disk.lock().unwrap().bad_updog = bad,
            Chaos::Sick(sick) => self.sick = sick,
            Chaos::OneBank(one) => self.one_bank = one,
            Chaos::DeadApi(dead) => self.api_dead = dead,
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

    fn carry_out(&mut self, effect: Effect) {
        let broken = std::mem::take(&mut self.fail) || self.going_down;
        let failure = || Failure { why: "failed".into(), unsupported: false, partial: None };
        let fleet_fails = broken || self.fleet_down;
        self.pass(Duration::from_millis(20));
        let event = match effect {
            Effect::Record { .. } => unreachable!("it is written at once"),
            Effect::Look if self.one_bank => {
                Event::Looked(Err(Failure { why: "one bank".into(), unsupported: true, partial: None }))
            }
            Effect::Look if self.api_dead => {
                let partial = PartialFacts { boot: self.boot_id(), banks: self.disk.lock().unwrap().banks() };
                Event::Looked(Err(Failure { partial: Some(partial), ..failure() }))
            }
            Effect::Look if broken => Event::Looked(Err(failure())),
            Effect::Look => {
                self.witness.looked = self.wall;
                if !self.fleet_down {
                    self.witness.heard = self.fleet.lock().unwrap().words.len();
                }
                Event::Looked(Ok(Box::new(self.facts())))
            }
            Effect::Refresh => {
                let refreshed = self.act(UpdateAction::Refresh, broken).map(drop);
                self.hide();
                Event::Refreshed(refreshed)
            }
            Effect::Acquire => {
                let granted = self.fleet.lock().unwrap().acquire(self.node);
                // The answer may be lost though the lock is not.
                Event::Granted(match granted {
                    _ if fleet_fails => Err("the fleet failed".into()),
                    true => Ok(Grant::Granted),
                    false => Ok(Grant::Refused("others have it".into())),
                })
            }
            Effect::Release if fleet_fails => Event::Released(fails("the fleet")),
            Effect::Release => {
                self.may_release();
                self.fleet.lock().unwrap().holders.remove(self.node);
                Event::Released(Ok(()))
            }
            Effect::Prepare => {
                self.may_prepare();
                Event::Prepared(self.act(UpdateAction::Prepare, broken))
            }
            Effect::Measure => Event::Measured(Baseline::default()),
            Effect::Count if broken => Event::Counted(fails("the count")),
            Effect::Count => Event::Counted(Ok(u64::from(self.up.subsec_nanos().is_multiple_of(3)))),
            Effect::Activate => {
                self.may_act(&Checkpoint::Activating);
                Event::Activated(self.act(UpdateAction::Activate, broken))
            }
            Effect::Deactivate => {
                self.may_deactivate();
                Event::Deactivated(self.act(UpdateAction::Deactivate, broken))
            }
            Effect::Reboot => {
                self.may_reboot();
                let broken = broken || self.api_dead;
                if !broken {
                    self.going_down = true;
                }
                Event::Rebooting(if broken { fails("the reboot") } else { Ok(()) })
            }
            Effect::Check(_) => {
                let ok = !self.sick && !self.api_dead && !self.bad.contains(&self.running()) && !broken;
                let check = Check { name: "workloads".into(), ok, found: "".into() };
                Event::Checked(Report { checks: vec![check] })
            }
            Effect::RollBack if broken => Event::RolledBack(fails("signpost")),
            Effect::RollBack => {
                self.may_roll_back();
                let mut disk = self.disk.lock().unwrap();
                Event::RolledBack(disk.roll_back().map(|()| disk.banks()).map_err(Arc::from))
            }
            Effect::Pin(_) if broken || self.api_dead => Event::Pinned(fails("the host")),
            Effect::Pin(to) => {
                self.may_pin(&to);
                self.version_lock = to;
                Event::Pinned(Ok(()))
            }
            Effect::Rule(version, _) if fleet_fails => Event::Ruled(version, fails("the fleet")),
            Effect::Rule(version, ruling) => {
                self.fleet.lock().unwrap().rule(version.clone(), ruling);
                Event::Ruled(version, Ok(()))
            }
            Effect::Report(_) => Event::Reported(if fleet_fails { fails("the fleet") } else { Ok(()) }),
            Effect::Reset(_) => Event::BreakerReset(if fleet_fails { fails("the fleet") } else { Ok(()) }),
        };
        self.event(event);
    }

    fn boot_id(&self) -> BootId {
        BootId(format!("boot-{}", self.boot).into())
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.wall, boot: self.up }
    }

    pub(super) fn facts(&mut self) -> Facts {
        let updates = self.updater.status(self.wall).ok().cloned();
        let banks = self.disk.lock().unwrap().banks();
        Facts {
            boot: self.boot_id(),
            running: self.running(),
            updates,
            banks,
            version_lock: Some(self.version_lock.clone()),
            seed: Some(7),
            board: if self.fleet_down {
                Err("the fleet is down".into())
            } else {
                Ok(self.fleet.lock().unwrap().board.clone())
            },
            ready: Ok(()),
        }
    }

    fn act(&mut self, action: UpdateAction, broken: bool) -> Result<Box<UpdateStatus>, Failure> {
        if self.api_dead {
            return Err(Failure { why: "the API is dead".into(), unsupported: false, partial: None });
        }
        let failure = |why: String| Failure { why: why.into(), unsupported: false, partial: None };
        self.updater.act(action, &self.version_lock, self.wall).map_err(|refusal| failure(format!("{refusal:?}")))?;
        self.pass(Duration::from_millis(1));
        let status = self.updater.status(self.wall).map_err(|refusal| failure(format!("{refusal:?}")))?;
        let command = status.most_recent_command.as_ref().expect("a command");
        // The answer may be lost though it was done.
        if broken || command.cmd_status != CommandOutcome::Success {
            return Err(failure(format!("{action:?} failed: {command:?}")));
        }
        Ok(Box::new(status.clone()))
    }
}

fn image(version: &Version) -> Image {
    Image { arch: "x86_64".to_owned(), version: version.to_string(), variant: "aws-ecs-2".to_owned() }
}

pub(super) fn fails<T>(what: &str) -> Result<T, Arc<str>> {
    Err(format!("{what} failed").into())
}

/// How the updates ended that are remembered.
pub(super) fn ends(world: &World) -> BTreeMap<End, usize> {
    let mut ends = BTreeMap::new();
    for past in &world.state.memory.history {
        *ends.entry(past.end).or_default() += 1;
    }
    ends
}
