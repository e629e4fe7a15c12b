//! What must hold, as one sees it who sees everything.
//!
//! What happens between a look and what follows from it cannot be known to the agent, and is not held against it.

use super::*;
use crate::update::drain::Availability;
use crate::update::summary;

#[derive(Debug)]
pub(super) struct Witness {
    /// Versions refused here, and not allowed again since.
    pub(super) refused: BTreeSet<Version>,
    /// Versions that the boot loader ever took here.
    pub(super) booted: BTreeSet<Version>,
    /// Updates that this agent took back since a person last said resume; by when they began. It does so again where
    /// somebody else tells the boot loader otherwise.
    pub(super) rollbacks: BTreeSet<Timestamp>,
    /// Updates that were taken back since then, by whomever.
    pub(super) taken_back: BTreeSet<Timestamp>,
    /// The one that does not count, since it was being taken back when a person said resume.
    forgiven: Option<Timestamp>,
    /// When the host was last looked at, and how many words the fleet had then.
    pub(super) looked: Timestamp,
    pub(super) heard: usize,
    /// Whether it was decided to activate, in this boot, and when the end of that was heard.
    activating: bool,
    activated: Option<Timestamp>,
    /// When somebody else last wrote to the other bank, or told the boot loader something, in this boot.
    pub(super) foreign_prepare: Option<Timestamp>,
    pub(super) foreign_turn: Option<Timestamp>,
    /// Whether somebody else did any of this.
    pub(super) touched: bool,
    /// What the operator wants `version-lock` to be, and since when.
    pub(super) operators_lock: (String, Timestamp),
}

impl Witness {
    pub(super) fn new(running: Version, now: Timestamp) -> Self {
        Self {
            refused: BTreeSet::new(),
            booted: [running].into(),
            rollbacks: BTreeSet::new(),
            taken_back: BTreeSet::new(),
            forgiven: None,
            looked: now,
            heard: 0,
            activating: false,
            activated: None,
            foreign_prepare: None,
            foreign_turn: None,
            touched: false,
            operators_lock: ("latest".to_owned(), now),
        }
    }

    /// A person said resume while this was under way: one that is being taken back is over and done with.
    pub(super) fn resumed(&mut self, update: Option<Underway>) {
        (self.rollbacks, self.taken_back) = (BTreeSet::new(), BTreeSet::new());
        self.forgiven =
            update.filter(|update| update.stage == Checkpoint::RollingBack).map(|update| update.intent.begun);
    }

    pub(super) fn rebooted(&mut self) {
        (self.foreign_prepare, self.foreign_turn) = (None, None);
        (self.touched, self.activating, self.activated) = (false, false, None);
    }

    /// Somebody else told the boot loader something.
    pub(super) fn turned(&mut self, now: Timestamp) {
        (self.foreign_turn, self.touched) = (Some(now), true);
    }
}

impl World {
    /// After an event.
    pub(super) fn check(&mut self, before: &State, event: &str, effects: &[Effect]) {
        let (memory, kind) = (&self.state.memory, self.kind());
        let past = memory.history.last().filter(|past| before.memory.history.last() != Some(past));
        let taken_back = past.is_some_and(|past| matches!(past.end, End::FellBack | End::RolledBack | End::TakenBack));
        if let (true, Progress::Starting(Some(Underway { intent, .. }))) = (taken_back, &before.progress)
            && self.witness.forgiven != Some(intent.begun)
        {
            self.witness.taken_back.insert(intent.begun);
        }
        match (ProgressKind::of(&before.progress), event) {
            (ProgressKind::Draining, _) if kind == ProgressKind::Activating => {
                (self.witness.activating, self.witness.activated) = (true, None);
            }
            (ProgressKind::Activating, "activated") => self.witness.activated = Some(self.wall),
            _ => {}
        }
        for (version, ruling) in memory.rulings.iter().filter(|(_, ruling)| ruling.refused) {
            let told = self.fleet.lock().unwrap().words.contains(&(version.clone(), true));
            let known = told || self.witness.booted.contains(version);
            assert!(known, "{version} never ran, here or elsewhere: {}\n{}", ruling.why, self.story());
            self.witness.refused.insert(version.clone());
        }
        let fleet = self.fleet.lock().unwrap();
        let allowed = |version: &Version| {
            let word = memory.rulings.get(version);
            word.is_some_and(|word| !word.refused) && fleet.words.contains(&(version.clone(), false))
        };
        self.witness.refused.retain(|version| !allowed(version));
        drop(fleet);
        let begins = |effect: &&Effect| match effect {
            Effect::Acquire | Effect::Prepare | Effect::Activate => true,
            Effect::Reboot => kind == ProgressKind::Rebooting,
            _ => false,
        };
        if memory.held.is_some() {
            assert_eq!(effects.iter().find(begins), None, "updates are held\n{}", self.story());
        }
        assert!(kind.phases().contains(&self.state.phase()), "{kind}: {}\n{}", self.state.phase(), self.story());
        let availability = summary::availability(&self.state);
        let right = match kind {
            ProgressKind::Standby | ProgressKind::Locking | ProgressKind::Preparing | ProgressKind::Withdrawing => {
                availability == Availability::Serving
            }
            ProgressKind::Activating | ProgressKind::Rebooting => matches!(availability, Availability::Draining { .. }),
            ProgressKind::Verifying => matches!(availability, Availability::LastResort { .. }),
            _ => true,
        };
        assert!(right, "{kind}: {availability:?}\n{}", self.story());
    }

    /// Before a step towards the reboot: it is written down, and nothing that could be known speaks against it.
    pub(super) fn may_act(&self, stage: &Checkpoint) -> Intent {
        let Underway { stage: written, intent } = self.on_disk().update.expect("it is in the journal");
        assert_eq!(written, *stage);
        assert!(self.has_lock(), "it needs the lock\n{}", self.story());
        let to = &intent.to;
        assert!(!self.witness.refused.contains(to), "{to} is refused\n{}", self.story());
        let fleet = self.fleet.lock().unwrap();
        let word = fleet.words[..self.witness.heard].iter().rfind(|(version, _)| version == to);
        assert!(word.is_none_or(|(_, refused)| !refused), "the fleet refuses {to}\n{}", self.story());
        intent
    }

    pub(super) fn may_prepare(&mut self) {
        let intent = self.may_act(&Checkpoint::Preparing);
        assert_eq!(intent.boot, self.boot_id(), "no prepare while a verdict is open\n{}", self.story());
        assert!(self.witness.taken_back.len() < MAX_ROLLBACKS as usize, "too many were taken back\n{}", self.story());
        let foreign = self.witness.foreign_prepare.is_some_and(|at| at <= self.witness.looked);
        assert!(!foreign, "somebody else's work is overwritten\n{}", self.story());
        self.witness.foreign_prepare = None;
        let down = intent.to < intent.from && self.witness.operators_lock.0 == "latest";
        assert!(!down, "nobody wanted to go down to {}\n{}", intent.to, self.story());
    }

    pub(super) fn may_deactivate(&self) {
        let Witness { activating, activated, foreign_turn, looked, .. } = &self.witness;
        // Where the end was not heard, it may be the end of this or of another.
        let own = foreign_turn.filter(|foreign| foreign <= looked).is_none_or(|foreign| match activated {
            Some(activated) => foreign < *activated,
            None => *activating,
        });
        assert!(own, "somebody else's work is undone\n{}", self.story());
    }

    pub(super) fn may_reboot(&self) {
        let update = self.on_disk().update.expect("a reboot is in the journal");
        // What runs and is bad is taken back though the disk be full.
        let written =
            update.stage != Checkpoint::Preparing || self.disk_full && self.kind() == ProgressKind::RebootingBack;
        assert!(written, "a reboot is in the journal\n{}", self.story());
        assert!(self.has_lock(), "a reboot needs the lock\n{}", self.story());
    }

    pub(super) fn may_roll_back(&mut self) {
        let Progress::Updating { intent, .. } = &self.state.progress else { panic!("nothing is to be taken back") };
        if self.witness.forgiven != Some(intent.begun) {
            self.witness.rollbacks.insert(intent.begun);
        }
        assert!(self.witness.rollbacks.len() <= MAX_ROLLBACKS as usize, "too many rollbacks\n{}", self.story());
    }

    pub(super) fn may_release(&self) {
        assert_eq!(self.on_disk().update, None, "the lock is kept until the verdict\n{}", self.story());
    }

    pub(super) fn may_pin(&mut self, to: &str) {
        let pin = self.state.memory.pin.as_ref().expect("what is pinned");
        if self.witness.operators_lock.1 >= self.witness.looked {
            self.witness.operators_lock.0.clone_from(&pin.before);
        }
        if to != pin.to.to_string() {
            assert_eq!(to, self.witness.operators_lock.0, "what stood there is put back\n{}", self.story());
        }
    }

    /// A refresh hides the command before it: the same version, staged by another, looks the same.
    pub(super) fn hide(&mut self) {
        let own = self.state.memory.own.as_ref().filter(|own| own.boot == self.boot_id());
        let own = own.map(|own| own.staged.clone());
        if self.staged() == own {
            (self.witness.foreign_prepare, self.witness.foreign_turn) = (None, None);
        }
    }

    fn staged(&mut self) -> Option<Version> {
        let status = self.updater.status(self.wall).ok()?;
        status.staging_partition.as_ref()?.image.version.parse().ok()
    }

    /// Whether somebody else was at work in this boot.
    pub(in super::super) fn is_touched(&self) -> bool {
        self.witness.touched
    }

    /// What the operator wants `version-lock` to be.
    pub(in super::super) fn operators_lock(&self) -> &str {
        &self.witness.operators_lock.0
    }
}
