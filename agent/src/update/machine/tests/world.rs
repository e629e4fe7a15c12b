//! A node and its fleet in memory: it carries out effects as the real ones would, fails where it is told to, and checks
//! at every effect what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottlerocket_settings::{CommandOutcome, Image, UpdateAction, UpdateStatus};
use jiff::Timestamp;
use meshdog_tests::host::updates::{Banks as Writable, Offer, Updater};
use proptest::prelude::*;
use semver::Version;

use super::super::*;
use crate::config;
use crate::update::banks::{Bank, Banks, Flags};
use crate::update::fleet::Board;
use crate::update::verify::{Baseline, Check, Report};

pub(super) const NODE: &str = "node-a";
pub(super) const MAX_ROLLBACKS: u32 = 2;

/// What goes on beside the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chaos {
    /// Nothing: the next effect is carried out, or, if there is none, time passes until the next tick.
    None,
    /// The next effect fails.
    Fail,
    /// The agent is killed, and started again.
    Crash,
    /// The power goes, and comes back.
    PowerCut,
    Hours(u8),
    Hold,
    Resume,
    Allow,
    Check,
    /// A new version is on offer; whether it boots, and whether the workloads do well on it.
    Offer {
        boots: bool,
        well: bool,
    },
    DiskFull(bool),
    FleetDown(bool),
    /// Another node has the lock.
    OtherNode(bool),
    /// Somebody else drives the host's updater.
    Foreign(u8),
    /// Somebody else uses signpost.
    ForeignRollback,
    ForeignLock,
    /// The workloads do badly for a while, whatever runs.
    Sick(bool),
    /// The host says that it has one bank.
    OneBank(bool),
    /// The host's API does not answer.
    DeadApi(bool),
}

pub(super) fn chaos() -> impl Strategy<Value = Chaos> {
    prop_oneof![
        60 => Just(Chaos::None),
        2 => Just(Chaos::Fail),
        2 => Just(Chaos::Crash),
        2 => Just(Chaos::PowerCut),
        2 => (0..30u8).prop_map(Chaos::Hours),
        1 => Just(Chaos::Hold),
        1 => Just(Chaos::Resume),
        1 => Just(Chaos::Allow),
        1 => Just(Chaos::Check),
        3 => any::<(bool, bool)>().prop_map(|(boots, well)| Chaos::Offer { boots, well }),
        1 => any::<bool>().prop_map(Chaos::DiskFull),
        1 => any::<bool>().prop_map(Chaos::FleetDown),
        1 => any::<bool>().prop_map(Chaos::OtherNode),
        1 => (0..4u8).prop_map(Chaos::Foreign),
        1 => Just(Chaos::ForeignRollback),
        1 => Just(Chaos::ForeignLock),
        1 => any::<bool>().prop_map(Chaos::Sick),
        1 => any::<bool>().prop_map(Chaos::OneBank),
        2 => any::<bool>().prop_map(Chaos::DeadApi),
    ]
}

/// The disk's two banks.
#[derive(Debug)]
struct Disk {
    flags: [Flags; 2],
    holds: [Version; 2],
    active: usize,
}

const UNUSED: Flags = Flags { priority: 0, tries_left: 0, successful: false };

impl Disk {
    fn banks(&self) -> Banks {
        let active = if self.active == 0 { Bank::A } else { Bank::B };
        Banks { active, running: self.flags[self.active], other: self.flags[1 - self.active] }
    }

    fn roll_back(&mut self) -> Result<(), String> {
        let other = self.flags[1 - self.active];
        if !(other.successful || other.priority > 0 && other.tries_left > 0) {
            return Err(format!("Inactive partition is not valid to roll back to ({other})"));
        }
        self.flags[1 - self.active].priority = 2;
        self.flags[self.active].priority = 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Updog(Arc<Mutex<Disk>>);

impl Writable for Updog {
    fn active_is_next(&self) -> Result<bool, String> {
        let banks = self.0.lock().unwrap().banks();
        Ok(banks.next() == Some(banks.active))
    }

    fn write(&mut self, image: &Image) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let other = 1 - disk.active;
        disk.flags[other] = Flags { tries_left: 1, ..UNUSED };
        disk.holds[other] = image.version.parse().unwrap();
        Ok(())
    }

    fn activate(&mut self) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let (active, other) = (disk.active, 1 - disk.active);
        if disk.flags[other].priority > 0 || disk.flags[other].successful || disk.flags[other].tries_left == 0 {
            return Err("not valid for upgrade".to_owned());
        }
        disk.flags[other].priority = 2;
        disk.flags[active].priority = 1;
        Ok(())
    }

    fn revert(&mut self) -> Result<(), String> {
        let mut disk = self.0.lock().unwrap();
        let (active, other) = (disk.active, 1 - disk.active);
        disk.flags[other].priority = 0;
        disk.flags[active].priority = 2;
        Ok(())
    }
}

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
    pub(super) holders: BTreeSet<&'static str>,
    board: Board,
    fail: bool,
    going_down: bool,
    /// Rollbacks since a person last said resume.
    rollbacks: u32,
    /// Every transition that was seen.
    pub(super) edges: BTreeSet<(Place, &'static str, Place)>,
    /// What was done, for the error message of a failing test.
    pub(super) log: Vec<String>,
    /// Versions refused here, and not allowed again since.
    refused: BTreeSet<Version>,
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
    pub(super) fn new() -> Self {
        let disk = Disk {
            flags: [Flags { priority: 1, tries_left: 0, successful: true }, UNUSED],
            holds: [version(20), version(0)],
            active: 0,
        };
        let disk = Arc::new(Mutex::new(disk));
        let updater = Updater::new(image(&version(20)), Box::new(Updog(disk.clone())));
        let journal = serde_json::to_string(&Record { memory: Memory::default(), update: None }).unwrap();
        let state = State::new(settings(""), NODE.into(), serde_json::from_str(&journal).unwrap());
        Self {
            state,
            queue: VecDeque::new(),
            journal,
            disk,
            updater,
            boot: 1,
            up: Duration::from_secs(30),
            wall: "2026-11-01T00:00:00Z".parse().unwrap(),
            version_lock: "latest".to_owned(),
            next_version: 21,
            bad: BTreeSet::new(),
            dead: BTreeSet::new(),
            sick: false,
            one_bank: false,
            api_dead: false,
            disk_full: false,
            fleet_down: false,
            holders: BTreeSet::new(),
            board: Board::default(),
            fail: false,
            going_down: false,
            rollbacks: 0,
            edges: BTreeSet::new(),
            log: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::of(&self.state.phase)
    }

    pub(super) fn running(&self) -> Version {
        let disk = self.disk.lock().unwrap();
        disk.holds[disk.active].clone()
    }

    pub(super) fn on_disk(&self) -> Record {
        serde_json::from_str(&self.journal).unwrap()
    }

    /// The journal is gone.
    pub(super) fn lose_journal(&mut self) {
        self.journal = serde_json::to_string(&Record { memory: Memory::default(), update: None }).unwrap();
        (self.rollbacks, self.refused) = (0, BTreeSet::new());
        self.crash();
    }

    pub(super) fn happens(&mut self, chaos: Chaos) {
        if chaos != Chaos::None {
            self.log.push(format!("{chaos:?}"));
        }
        match chaos {
            Chaos::None => self.go_on(),
            Chaos::Fail => self.fail = true,
            Chaos::Crash => self.crash(),
            Chaos::PowerCut => self.reboot(),
            Chaos::Hours(hours) => self.pass(Duration::from_secs(3600 * u64::from(hours))),
            Chaos::Hold => self.event(Event::Hold("by hand".into())),
            Chaos::Resume => {
                self.rollbacks = 0;
                self.event(Event::Resume);
            }
            Chaos::Allow => {
                if let Some(version) = self.refused.pop_last() {
                    self.event(Event::Allow(version));
                }
            }
            Chaos::Check => self.event(Event::Check),
            Chaos::Offer { boots, well } => self.offer(boots, well),
            Chaos::DiskFull(full) => self.disk_full = full,
            Chaos::FleetDown(down) => self.fleet_down = down,
            Chaos::OtherNode(true) if self.holders.is_empty() => drop(self.holders.insert("node-b")),
            Chaos::OtherNode(_) => drop(self.holders.remove("node-b")),
            Chaos::Foreign(what) => {
                let action =
                    [UpdateAction::Refresh, UpdateAction::Prepare, UpdateAction::Activate, UpdateAction::Deactivate];
                let _ = self.updater.act(action[usize::from(what)], &self.version_lock, self.wall);
                self.pass(Duration::from_millis(1));
            }
            Chaos::ForeignRollback => drop(self.disk.lock().unwrap().roll_back()),
            Chaos::ForeignLock => self.version_lock = self.running().to_string(),
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
                if matches!(self.place(), Place::Rebooting | Place::RebootingBack) {
                    self.edges.insert((self.place(), "the host reboots", Place::Starting));
                }
                self.reboot();
            }
            None => {
                self.pass(self.state.pause().max(Duration::from_millis(10)));
                self.event(Event::Tick);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.up += time;
        self.wall += time;
    }

    fn event(&mut self, event: Event) {
        let (name, before) = (event.name(), self.place());
        let now = Now { wall: self.wall, boot: self.up };
        self.log.push(format!("{before} --{name}-->"));
        let (next, effects) = match step(&self.state, event, now) {
            Ok(done) => done,
            Err(illegal) => panic!("{illegal}\n{}", self.log.join("\n")),
        };
        self.state = next;
        self.log.push(format!("    {} {:?}", self.place(), effects.iter().map(Effect::name).collect::<Vec<_>>()));
        self.edges.insert((before, name, self.place()));
        self.refused.extend(
            self.state.memory.rulings.iter().filter(|(_, ruling)| ruling.refused).map(|(version, _)| version.clone()),
        );
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
        self.state = State::new(settings(""), NODE.into(), self.on_disk());
        self.event(Event::Tick);
    }

    /// GRUB picks a bank; one that does not boot falls back. A boot is marked as successful before any container runs.
    fn reboot(&mut self) {
        {
            let mut disk = self.disk.lock().unwrap();
            loop {
                let next = disk.banks().next().expect("a bank that boots");
                let next = if next == Bank::A { 0 } else { 1 };
                disk.active = next;
                let flags = &mut disk.flags[next];
                flags.tries_left = flags.tries_left.saturating_sub(1);
                let dead = self.dead.contains(&disk.holds[next]);
                self.boot += 1;
                self.log.push(format!("boot {} of {}", self.boot, disk.holds[next]));
                if !dead {
                    disk.flags[next].successful = true;
                    break;
                }
            }
        }
        self.up = Duration::from_secs(5);
        self.wall += Duration::from_secs(30);
        self.going_down = false;
        let running = image(&self.running());
        self.updater.boot(running);
        self.crash();
    }

    fn carry_out(&mut self, effect: Effect) {
        let broken = std::mem::take(&mut self.fail) || self.going_down;
        let trouble = || Trouble { why: "failed".into(), unsupported: false, seen: None };
        let fleet_fails = broken || self.fleet_down;
        let update = self.on_disk().update;
        self.pass(Duration::from_millis(20));
        let event = match effect {
            Effect::Record { .. } => unreachable!("it is written at once"),
            Effect::Look if self.one_bank => {
                Event::Looked(Err(Trouble { why: "one bank".into(), unsupported: true, seen: None }))
            }
            Effect::Look if self.api_dead => {
                let seen = Glimpse { boot: self.boot_id(), banks: self.disk.lock().unwrap().banks() };
                Event::Looked(Err(Trouble { seen: Some(seen), ..trouble() }))
            }
            Effect::Look if broken => Event::Looked(Err(trouble())),
            Effect::Look => Event::Looked(Ok(Box::new(self.facts()))),
            Effect::Refresh => Event::Refreshed(self.act(UpdateAction::Refresh, broken).map(drop)),
            Effect::Acquire if fleet_fails => {
                // The answer is lost, the lock is not.
                if self.holders.is_empty() {
                    self.holders.insert(NODE);
                }
                Event::Granted(fails("the fleet"))
            }
            Effect::Acquire => Event::Granted(Ok(match self.holders.first() {
                Some(other) if *other != NODE => Grant::Refused(format!("{other} has it").into()),
                _ => {
                    self.holders.insert(NODE);
                    Grant::Granted
                }
            })),
            Effect::Release if fleet_fails => Event::Released(fails("the fleet")),
            Effect::Release => {
                assert!(update.is_none(), "the lock is kept until the verdict");
                self.holders.remove(NODE);
                Event::Released(Ok(()))
            }
            Effect::Prepare => {
                let update = update.expect("a prepare is in the journal");
                assert_eq!(update.stage, Stage::Preparing);
                assert_eq!(update.intent.boot, self.boot_id(), "no prepare while a verdict is open");
                assert!(self.holders.contains(NODE), "a prepare needs the lock");
                assert!(!self.refused.contains(&update.intent.to), "{} is refused", update.intent.to);
                Event::Prepared(self.act(UpdateAction::Prepare, broken))
            }
            Effect::Measure => Event::Measured(Baseline::default()),
            Effect::Count if broken => Event::Counted(fails("the count")),
            Effect::Count => Event::Counted(Ok(u64::from(self.up.subsec_nanos().is_multiple_of(3)))),
            Effect::Activate => {
                let update = update.expect("an activate is in the journal");
                assert_eq!(update.stage, Stage::Activating);
                assert!(self.holders.contains(NODE), "an activate needs the lock");
                Event::Activated(self.act(UpdateAction::Activate, broken))
            }
            Effect::Deactivate => Event::Deactivated(self.act(UpdateAction::Deactivate, broken)),
            Effect::Reboot => {
                let update = update.expect("a reboot is in the journal");
                assert_ne!(update.stage, Stage::Preparing, "a reboot is in the journal");
                assert!(self.holders.contains(NODE), "a reboot needs the lock");
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
                let mut disk = self.disk.lock().unwrap();
                let before = disk.banks().next();
                let result = disk.roll_back().map(|()| disk.banks()).map_err(Arc::from);
                // Doing it again changes nothing.
                self.rollbacks += u32::from(disk.banks().next() != before);
                drop(disk);
                assert!(self.rollbacks <= MAX_ROLLBACKS, "no more rollbacks than allowed\n{}", self.log.join("\n"));
                Event::RolledBack(result)
            }
            Effect::Pin(_) if broken || self.api_dead => Event::Pinned(fails("the host")),
            Effect::Pin(to) => {
                self.version_lock = to;
                Event::Pinned(Ok(()))
            }
            Effect::Rule(version, _) if fleet_fails => Event::Ruled(version, fails("the fleet")),
            Effect::Rule(version, ruling) => {
                self.board.rulings.insert(version.clone(), ruling);
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

    fn facts(&mut self) -> Facts {
        let updates = self.updater.status(self.wall).ok().cloned();
        let banks = self.disk.lock().unwrap().banks();
        Facts {
            boot: self.boot_id(),
            running: self.running(),
            updates,
            banks,
            version_lock: Some(self.version_lock.clone()),
            seed: Some(7),
            board: if self.fleet_down { Err("the fleet is down".into()) } else { Ok(self.board.clone()) },
            ready: Ok(()),
        }
    }

    fn act(&mut self, action: UpdateAction, broken: bool) -> Result<Box<UpdateStatus>, Trouble> {
        if self.api_dead {
            return Err(Trouble { why: "the API is dead".into(), unsupported: false, seen: None });
        }
        let trouble = |why: String| Trouble { why: why.into(), unsupported: false, seen: None };
        self.updater.act(action, &self.version_lock, self.wall).map_err(|refusal| trouble(format!("{refusal:?}")))?;
        self.pass(Duration::from_millis(1));
        let status = self.updater.status(self.wall).map_err(|refusal| trouble(format!("{refusal:?}")))?;
        let command = status.most_recent_command.as_ref().expect("a command");
        // The answer may be lost though it was done.
        if broken || command.cmd_status != CommandOutcome::Success {
            return Err(trouble(format!("{action:?} failed: {command:?}")));
        }
        Ok(Box::new(status.clone()))
    }
}

fn image(version: &Version) -> Image {
    Image { arch: "x86_64".to_owned(), version: version.to_string(), variant: "aws-ecs-2".to_owned() }
}

fn fails<T>(what: &str) -> Result<T, Arc<str>> {
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
