use std::path::Path;

use bottlerocket_settings::UpdateStatus;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{self, UpdateSettings};
use crate::update::banks::{Bank, Banks, Flags};
use crate::update::fleet::Outcome;
use crate::update::machine::{BootId, Hold, OwnCommand, Progress, Record, Retry, Standby, VersionPin};

mod recorded;

const NOW: &str = "2026-11-22T12:00:00Z";
const RUNNING: Version = Version::new(1, 20, 5);
const NEW: Version = Version::new(1, 21, 1);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Now {
    Now { wall: at(NOW), boot: Duration::from_secs(3600) }
}

fn ago(time: Duration) -> Timestamp {
    at(NOW).checked_sub(time).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

fn settings(update: &str) -> Arc<UpdateSettings> {
    let text = format!("version = 1\nmesh.namespace = \"prod\"\n[update]\n{update}");
    Arc::new(config::parse(Path::new("user-data"), &text).unwrap().update)
}

fn state(update: &str) -> State {
    let mut state = State::new(settings(update), "node-a".into(), Record::default());
    state.progress = Progress::Standby(Standby::default());
    state
}

/// A status of the host's updater that has found these versions, and chosen the first.
fn status(versions: &[&str]) -> UpdateStatus {
    let image = |version: &&str| json!({ "arch": "x86_64", "variant": "aws-ecs-2", "version": version });
    let state = if versions.is_empty() { "Idle" } else { "Available" };
    let chosen = versions.first().map_or(Value::Null, image);
    serde_json::from_value(json!({ "update_state": state, "available_updates": versions, "chosen_update": chosen }))
        .unwrap()
}

/// A host on which nothing speaks against the update.
fn facts() -> Facts {
    Facts {
        boot: BootId("this".into()),
        running: RUNNING,
        updates: Some(status(&["1.21.1", "1.21.0", "1.20.5"])),
        banks: banks((1, 0, true), (0, 0, false)),
        version_lock: Some("latest".to_owned()),
        seed: Some(0),
        board: Ok(Board::default()),
        ready: Ok(()),
    }
}

type Bits = (u8, u8, bool);

/// Bank A runs.
fn banks(a: Bits, b: Bits) -> Banks {
    let flags = |(priority, tries_left, successful)| Flags { priority, tries_left, successful };
    Banks { active: Bank::A, running: flags(a), other: flags(b) }
}

fn ruling(refused: bool, at: Timestamp, by: &str) -> Ruling {
    Ruling { refused, at, by: by.into(), why: "web was sick".into() }
}

fn idle(decision: &Decision) -> &str {
    let Decision::Stay(Reason::Idle(why)) = decision else { panic!("{decision:?}") };
    why
}

fn waits(decision: &Decision) -> (&str, Option<Timestamp>) {
    let Decision::Stay(Reason::Waiting(why, until)) = decision else { panic!("{decision:?}") };
    (why, *until)
}

/// What an update may have against it in its settings.
const AGAINST: &str = "delay = \"24h\"\nwave = \"48h\"\nwindow = [\"Mon 02:00-05:00 UTC\"]\n";
const RETRY_AT: &str = "2026-11-22T12:10:00Z";

/// Everything speaks against the update.
fn all_against() -> (State, Facts) {
    let mut state = state("");
    let facts = Facts {
        updates: None,
        seed: Some(1024),
        board: Err("etcd is gone".into()),
        ready: Err("Docker is not there".into()),
        version_lock: Some("v1.20.5".to_owned()),
        banks: banks((1, 0, true), (2, 1, false)),
        ..facts()
    };
    state.memory.held = Some(Hold { why: "by hand".into(), since: ago(HOUR) });
    state.memory.seen.insert(NEW, ago(HOUR));
    state.memory.retry = Some(Retry { version: NEW, attempts: 1, at: at(RETRY_AT), why: "the host was busy".into() });
    state.memory.rulings.insert(NEW, ruling(true, ago(2 * HOUR), "node-b"));
    (state, facts)
}

/// One thing after the other no longer speaks against it.
#[test]
fn every_reason_comes_before_the_next() {
    let (mut state, mut facts) = all_against();
    let look = |state: &State, facts: &Facts| decide(state, facts, now());

    assert_eq!(idle(&look(&state, &facts)), "update.mode is off");
    state.settings = settings(&format!("{AGAINST}refuse = [\"v1.21.1\"]\nmode = \"check\""));
    assert_eq!(waits(&look(&state, &facts)), ("somebody else told the next boot to take bank B", None));
    facts.banks = banks((0, 0, true), (0, 0, false));
    assert_eq!(waits(&look(&state, &facts)), ("neither bank would boot; look at signpost status", None));
    facts.banks = banks((1, 0, true), (0, 0, false));
    let locked = "no update available; settings.updates.version-lock is v1.20.5";
    assert_eq!(idle(&look(&state, &facts)), locked);
    state.memory.pin = Some(VersionPin { to: RUNNING, before: "latest".to_owned(), set: true, lift: false });
    let kept = "no update available; version-lock is kept at 1.20.5 since a rollback";
    assert_eq!(idle(&look(&state, &facts)), kept);
    (state.memory.pin, facts.version_lock) = (None, Some("latest".to_owned()));
    assert_eq!(idle(&look(&state, &facts)), "no update available");
    facts.version_lock = None;
    assert_eq!(idle(&look(&state, &facts)), "no update available");

    facts.updates = Some(status(&["1.20.5"]));
    assert_eq!(idle(&look(&state, &facts)), "1.20.5, which the host would take, runs");
    facts.updates = Some(status(&["1.21.1"]));
    assert_eq!(idle(&look(&state, &facts)), "1.21.1 is refused by update.refuse");
    state.settings = settings(&format!("{AGAINST}mode = \"check\""));
    let refused = "1.21.1 is refused since 2026-11-22T10:00:00Z: web was sick, said by node-b";
    assert_eq!(idle(&look(&state, &facts)), refused);
    state.memory.rulings.insert(NEW, ruling(false, ago(HOUR), "node-b"));
    assert_eq!(idle(&look(&state, &facts)), "1.21.1 is available; update.mode is check, so it is not taken");
    state.settings = settings(&format!("{AGAINST}mode = \"automatic\""));
    assert_eq!(waits(&look(&state, &facts)), ("updates are held: by hand", None));
    state.memory.held = None;
    let again = ("the last attempt came to nothing: the host was busy", Some(at(RETRY_AT)));
    assert_eq!(waits(&look(&state, &facts)), again);
    state.memory.retry.as_mut().unwrap().at = at(NOW);
    let (why, till) = waits(&look(&state, &facts)).into_owned();
    assert_eq!(why, "1.21.1 has to be known for a while first (update.delay, update.wave)");
    let until = ago(HOUR).checked_add(48 * HOUR).unwrap();
    assert_eq!(till, Some(until), "a day's delay, and half of two days' wave");
    state.memory.seen.insert(NEW, ago(48 * HOUR));
    let closed = ("no maintenance window is open (update.window)", Some(at("2026-11-23T02:00:00Z")));
    assert_eq!(waits(&look(&state, &facts)), closed);
    state.settings = settings("mode = \"automatic\"");
    assert_eq!(waits(&look(&state, &facts)), ("the fleet cannot be asked about 1.21.1: etcd is gone", None));
    let bad = |node: &str| (node.into(), Outcome { version: NEW, good: false, at: ago(HOUR) });
    facts.board = Ok(Board { outcomes: [bad("b"), bad("c")].into(), ..Board::default() });
    let (why, till) = waits(&look(&state, &facts)).into_owned();
    assert!(why.starts_with("the fleet's rollout is stopped: 2 of 2 updates") && till.is_none(), "{why}");
    facts.board = Ok(Board::default());
    let part = "the node is not whole, so an update could not be judged: Docker is not there";
    assert_eq!(waits(&look(&state, &facts)), (part, None));
    facts.ready = Ok(());
    assert_eq!(look(&state, &facts), Decision::Begin(NEW));
}

trait IntoOwned {
    fn into_owned(self) -> (String, Option<Timestamp>);
}

impl IntoOwned for (&str, Option<Timestamp>) {
    fn into_owned(self) -> (String, Option<Timestamp>) {
        (self.0.to_owned(), self.1)
    }
}

fn automatic() -> State {
    state("mode = \"automatic\"\ndelay = \"0s\"")
}

#[test]
fn a_retry_is_for_its_own_version() {
    let mut state = automatic();
    let later = at("2026-11-22T13:00:00Z");
    state.memory.retry = Some(Retry { version: NEW, attempts: 3, at: later, why: "x".into() });
    assert_eq!(waits(&decide(&state, &facts(), now())).1, Some(later));
    let newer = Facts { updates: Some(status(&["1.22.0"])), ..facts() };
    assert_eq!(decide(&state, &newer, now()), Decision::Begin(Version::new(1, 22, 0)));
}

#[test]
fn an_operators_version_lock_may_lead_down() {
    let facts = Facts {
        updates: Some(status(&["1.20.4", "1.21.1", "1.20.5"])),
        version_lock: Some("1.20.4".to_owned()),
        ..facts()
    };
    let old = Version::new(1, 20, 4);
    assert_eq!(decide(&automatic(), &facts, now()), Decision::Begin(old.clone()));
    // It has to be known for a while as any other.
    let mut state = state("mode = \"automatic\"");
    note_offered(&mut state.memory, &facts, at(NOW));
    assert_eq!(state.memory.seen.get(&old), Some(&at(NOW)));
    assert_eq!(waits(&decide(&state, &facts, now())).1, at(NOW).checked_add(24 * HOUR).ok());
}

#[test]
fn what_does_not_parse_is_no_version() {
    for odd in ["", "v1.21.1", "1.21", "latest", "1.21.1.1", "🐶"] {
        let facts = Facts { updates: Some(status(&[odd])), ..facts() };
        assert_eq!(chosen(&facts), None, "{odd}");
        assert_eq!(idle(&decide(&automatic(), &facts, now())), "no update available");
        let mut memory = Memory::default();
        note_offered(&mut memory, &facts, at(NOW));
        assert!(memory.seen.is_empty());
    }
    assert_eq!(chosen(&Facts { updates: None, ..facts() }), None);
    assert_eq!(chosen(&facts()), Some(NEW));
}

#[test]
fn the_seed_says_where_in_the_wave_a_node_stands() {
    let wave = 48 * HOUR;
    assert_eq!(place(None, wave), Duration::ZERO);
    assert_eq!(place(Some(0), wave), Duration::ZERO);
    assert_eq!(place(Some(1024), wave), 24 * HOUR);
    assert_eq!(place(Some(2047), wave), wave * 2047 / 2048);
    assert_eq!(place(Some(5000), wave), place(Some(2047), wave), "no seed is outside");
    assert_eq!(place(Some(u32::MAX), 30 * 24 * HOUR), place(Some(2047), 30 * 24 * HOUR));
}

#[test]
fn a_version_that_was_never_seen_is_seen_now() {
    let state = state("mode = \"automatic\"\ndelay = \"1h\"");
    assert_eq!(waits(&decide(&state, &facts(), now())).1, at(NOW).checked_add(HOUR).ok());
}

#[test]
fn a_clock_that_goes_backwards_costs_no_more_than_the_delay() {
    let mut state = state("mode = \"automatic\"\ndelay = \"1h\"");
    state.memory.seen.insert(NEW, at("2036-01-01T00:00:00Z"));
    note_offered(&mut state.memory, &facts(), at(NOW));
    assert_eq!(state.memory.seen[&NEW], at(NOW));
    assert_eq!(waits(&decide(&state, &facts(), now())).1, at(NOW).checked_add(HOUR).ok());
    note_offered(&mut state.memory, &facts(), at("2026-11-22T12:30:00Z"));
    assert_eq!(state.memory.seen[&NEW], at(NOW), "the first time counts");
    // At the end of time there is nothing to wait for.
    assert_eq!(due(&state.memory, &NEW, HOUR, Duration::MAX - 2 * HOUR, Timestamp::MAX), Timestamp::MAX);
}

#[test]
fn what_is_no_longer_on_offer_is_forgotten() {
    let mut memory = Memory::default();
    note_offered(&mut memory, &facts(), ago(HOUR));
    assert_eq!(memory.seen.keys().collect::<Vec<_>>(), [&Version::new(1, 21, 0), &NEW], "only what is newer");
    let next = Facts { updates: Some(status(&["1.22.0", "1.21.1"])), ..facts() };
    note_offered(&mut memory, &next, at(NOW));
    let seen: Vec<_> = memory.seen.into_iter().collect();
    assert_eq!(seen, [(NEW, ago(HOUR)), (Version::new(1, 22, 0), at(NOW))]);
}

/// A refresh that fails leaves a host that was just booted with an empty list.
#[test]
fn a_host_that_has_not_found_anything_yet_says_nothing() {
    let mut memory = Memory { seen: [(NEW, ago(HOUR))].into(), ..Memory::default() };
    for updates in [None, Some(status(&[]))] {
        note_offered(&mut memory, &Facts { updates, ..facts() }, at(NOW));
        assert_eq!(memory.seen.len(), 1);
    }
}

#[test]
fn many_versions_are_not_remembered_but_the_chosen_one_is() {
    let many: Vec<String> = (0..1000).rev().map(|patch| format!("1.30.{patch}")).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.insert(0, "1.19.0");
    let mut memory = Memory::default();
    note_offered(&mut memory, &Facts { updates: Some(status(&names)), ..facts() }, at(NOW));
    assert_eq!(memory.seen.len(), MAX_SEEN);
    assert!(memory.seen.contains_key(&Version::new(1, 19, 0)), "the one that an operator locked to");
}

#[test]
fn the_newest_word_counts() {
    let mut memory = Memory::default();
    assert!(refusal(&memory, &NEW).is_none());
    let board = |refused, at| Board { rulings: [(NEW, ruling(refused, at, "node-b"))].into(), ..Board::default() };
    learn(&mut memory, &board(true, ago(2 * HOUR)));
    assert_eq!(refusal(&memory, &NEW).unwrap().by.as_ref(), "node-b");
    assert!(refusal(&memory, &RUNNING).is_none());
    // A word of this node's own, which the fleet has yet to be told.
    memory.rulings.insert(NEW, ruling(false, ago(HOUR), "node-a"));
    memory.untold.insert(NEW);
    for older in [ago(2 * HOUR), ago(HOUR)] {
        learn(&mut memory, &board(true, older));
        assert!(refusal(&memory, &NEW).is_none() && memory.untold.contains(&NEW), "{older}");
    }
    learn(&mut memory, &board(true, at(NOW)));
    assert!(refusal(&memory, &NEW).is_some() && memory.untold.is_empty(), "it need not be told any more");
    learn(&mut memory, &Board::default());
    assert!(refusal(&memory, &NEW).is_some(), "what the fleet forgets is known here");
}

#[test]
fn a_lock_is_over_when_it_has_nothing_to_keep_off() {
    let mut facts = facts();
    let mut memory = Memory::default();
    assert!(pin_is_over(&memory, &facts), "there is none");
    memory.pin = Some(VersionPin { to: RUNNING, before: "latest".to_owned(), set: true, lift: false });
    assert!(pin_is_over(&memory, &facts), "nothing is refused");
    memory.rulings.insert(Version::new(1, 19, 0), ruling(true, ago(HOUR), "b"));
    memory.rulings.insert(RUNNING, ruling(true, ago(HOUR), "b"));
    assert!(pin_is_over(&memory, &facts), "nothing newer is refused");
    memory.rulings.insert(Version::new(1, 21, 0), ruling(true, ago(HOUR), "b"));
    assert!(pin_is_over(&memory, &facts), "1.21.1 is newer");
    memory.rulings.insert(NEW, ruling(true, ago(HOUR), "b"));
    assert!(!pin_is_over(&memory, &facts));
    facts.updates = Some(status(&["1.21.1", "not a version", "1.21.0"]));
    assert!(!pin_is_over(&memory, &facts));
    facts.updates = None;
    assert!(!pin_is_over(&memory, &facts), "the host has not looked yet");
    facts.updates = Some(status(&["1.22.0", "1.21.1"]));
    assert!(pin_is_over(&memory, &facts));
    for before in ["1.21.1", "v1.21.1"] {
        memory.pin.as_mut().unwrap().before = before.to_owned();
        assert!(!pin_is_over(&memory, &facts), "{before} is refused, and what would be locked to");
    }
    facts.running = NEW;
    assert!(pin_is_over(&memory, &facts), "something else runs");
    facts.running = RUNNING;
    memory.rulings.insert(NEW, ruling(false, at(NOW), "a"));
    assert!(pin_is_over(&memory, &facts), "allowed again");
}

#[test]
fn a_sentence_is_bounded_and_whole() {
    assert_eq!(&*sentence("web was sick"), "web was sick");
    assert_eq!(sentence(&"ü".repeat(600)).chars().count(), 500);
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second()).prop_map(|second| Timestamp::from_second(second).unwrap())
}

proptest! {
    #[test]
    fn a_word_that_is_to_win_wins(known in proptest::option::of(instant()), wall in instant()) {
        let known = known.map(|at| ruling(true, at, "b"));
        let mine = newer_than(known.as_ref(), wall);
        prop_assert!(mine >= wall);
        if let Some(known) = known.filter(|known| known.at < Timestamp::MAX.checked_sub(HOUR).unwrap()) {
            prop_assert!(mine > known.at);
            let mut memory = Memory { rulings: [(NEW, known)].into(), ..Memory::default() };
            let word = ruling(false, mine, "a");
            learn(&mut memory, &Board { rulings: [(NEW, word)].into(), ..Board::default() });
            prop_assert!(refusal(&memory, &NEW).is_none());
        }
    }

    /// Whoever hears all words, in whatever order and however often, holds the same.
    #[test]
    fn words_may_come_in_any_order(
        words in proptest::collection::btree_map(0..20_i64, any::<bool>(), 1..8),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let words: Vec<Ruling> =
            words.into_iter().map(|(second, refused)| ruling(refused, Timestamp::from_second(second).unwrap(), "b")).collect();
        let mut memory = Memory::default();
        let all = order.iter().map(|index| index.get(&words)).chain(&words);
        for word in all {
            learn(&mut memory, &Board { rulings: [(NEW, word.clone())].into(), ..Board::default() });
        }
        prop_assert_eq!(memory.rulings.get(&NEW), words.last());
    }

    /// A node's turn comes after the delay, before the wave is over, and does not move while time passes.
    #[test]
    fn a_turn_comes_once(seed in proptest::option::of(any::<u32>()), delay in 0..48_u32, wave in 0..48_u32, later in 0..96_u32) {
        let mut memory = Memory::default();
        note_offered(&mut memory, &facts(), at(NOW));
        let (delay, wave) = (HOUR * delay, HOUR * wave);
        let due = due(&memory, &NEW, delay, place(seed, wave), at(NOW).checked_add(HOUR * later).unwrap());
        let waited = Duration::try_from(due.duration_since(at(NOW))).unwrap();
        prop_assert!(waited >= delay && waited < delay + wave.max(Duration::from_nanos(1)));
    }

    /// Nothing is begun that is refused, held, out of its window, or on somebody else's host.
    #[test]
    fn nothing_is_begun_against_a_word(refused in any::<bool>(), held in any::<bool>(), hour in 0..168_u32, foreign in any::<bool>()) {
        let mut state = state("mode = \"automatic\"\ndelay = \"0s\"\nwindow = [\"Sat 02:00-05:00 Europe/Berlin\"]");
        state.memory.rulings.insert(NEW, ruling(refused, ago(HOUR), "b"));
        state.memory.held = held.then(|| Hold { why: "by hand".into(), since: ago(HOUR) });
        let mut facts = facts();
        if foreign {
            facts.banks = banks((1, 0, true), (2, 1, false));
        }
        let wall = at(NOW).checked_add(HOUR * hour).unwrap();
        let decision = decide(&state, &facts, Now { wall, ..now() });
        let may = !refused && !held && !foreign && state.settings.open(wall);
        prop_assert_eq!(decision == Decision::Begin(NEW), may);
    }
}
