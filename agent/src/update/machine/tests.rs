//! The state machine against a whole node in memory, whatever happens to it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use self::world::{Chaos, World, chaos, ends, version};
use super::*;
use crate::config::UpdateSettings;

mod world;

/// Long enough for an update with everything that belongs to it.
const CALM: usize = 1200;

fn run(world: &mut World, steps: usize) {
    for _ in 0..steps {
        world.happens(Chaos::None);
    }
}

/// Everything works again, and what others began is undone.
fn calm_down(world: &mut World) {
    use Chaos::{DiskFull, FleetDown, OneBank, OtherNode, Sick};
    for chaos in [DiskFull(false), FleetDown(false), OtherNode(false), Sick(false), OneBank(false)] {
        world.happens(chaos);
    }
    run(world, CALM);
}

#[test]
fn a_good_update_is_kept() {
    let mut world = World::new();
    world.offer(true, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Good, 1)].into());
    assert!(world.holders.is_empty() && world.on_disk().update.is_none());
    assert_eq!(world.place(), Place::Resting);
    assert!(world.state.memory.verdict.as_ref().is_some_and(|verdict| verdict.good));
}

#[test]
fn a_bad_update_is_taken_back_and_never_taken_again() {
    let mut world = World::new();
    world.offer(true, false);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into(), "{}", world.log.join("\n"));
    assert_eq!(world.version_lock, "1.20.0");
    assert!(policy::refusal(&world.state.memory, &version(21)).is_some());
    assert!(world.holders.is_empty());

    world.happens(Chaos::PowerCut);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into(), "once is enough");

    // A newer one is another matter, and the lock goes back to where it was.
    world.offer(true, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(22));
    assert_eq!(world.version_lock, "latest");
}

#[test]
fn what_does_not_boot_is_refused() {
    let mut world = World::new();
    world.offer(false, true);
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::FellBack, 1)].into());
    assert_eq!(world.version_lock, "1.20.0");
    assert!(world.holders.is_empty());
}

#[test]
fn a_person_lifts_a_refusal() {
    let mut world = World::new();
    world.offer(true, false);
    run(&mut world, CALM);
    world.happens(Chaos::Allow);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 2)].into());
    assert!(world.state.memory.held.is_some(), "that was the last rollback");
    world.happens(Chaos::Allow);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 2)].into(), "held");
    assert_eq!(world.version_lock, "latest", "nothing is refused any more");
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::RolledBack, 3)].into());
}

#[test]
fn without_a_rollback_left_a_bad_version_stays() {
    let mut world = World::new();
    world.state.settings = Arc::new(UpdateSettings { max_rollbacks: 0, ..(*world.state.settings).clone() });
    world.offer(true, false);
    while world.place() != Place::Rebooting {
        world.happens(Chaos::None);
    }
    // The agent of the next boot reads its settings anew.
    while world.place() != Place::Verifying {
        world.happens(Chaos::None);
    }
    world.state.settings = Arc::new(UpdateSettings { max_rollbacks: 0, ..(*world.state.settings).clone() });
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    assert!(world.state.memory.held.is_some() && world.holders.is_empty());
}

#[test]
fn the_journal_lost_while_a_verdict_is_open_leaves_no_lock_behind() {
    let mut world = World::new();
    world.offer(true, false);
    while world.place() != Place::Verifying {
        world.happens(Chaos::None);
    }
    assert!(!world.holders.is_empty());
    world.lose_journal();
    run(&mut world, CALM);
    assert_eq!(world.running(), version(21), "nobody knows what to go back to");
    assert!(world.holders.is_empty());
}

#[test]
fn a_bank_that_failed_to_boot_without_a_journal_is_a_persons_matter() {
    let mut world = World::new();
    world.offer(false, true);
    while world.place() != Place::Rebooting {
        world.happens(Chaos::None);
    }
    world.happens(Chaos::PowerCut);
    world.lose_journal();
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert!(world.state.memory.held.as_ref().is_some_and(|held| held.why.contains("bank B failed to boot")));
    world.happens(Chaos::Resume);
    run(&mut world, CALM);
    assert_eq!(ends(&world), [(End::FellBack, 1)].into(), "said once");
}

/// A bad version is verified while somebody else writes to the bank that it came from.
fn gone_bank() -> World {
    let mut world = at(true, false, Place::Verifying);
    world.offer(true, true);
    world.happens(Chaos::Foreign(0));
    world.happens(Chaos::Foreign(1));
    run(&mut world, CALM);
    world
}

#[test]
fn what_cannot_be_taken_back_stays_and_is_held() {
    let world = gone_bank();
    assert_eq!(world.running(), version(21));
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    let held = world.state.memory.held.as_ref().unwrap();
    assert!(held.why.contains("bank A, which held 1.20.0, is gone"), "{}", held.why);
    assert!(world.holders.is_empty());
}

/// signpost fails for ever.
fn deaf_signpost() -> World {
    let mut world = at(true, false, Place::RollingBack);
    for _ in 0..100 {
        if world.queue.front() == Some(&Effect::RollBack) {
            world.happens(Chaos::Fail);
        }
        world.happens(Chaos::None);
    }
    world
}

#[test]
fn a_rollback_that_fails_for_ever_is_given_up() {
    let world = deaf_signpost();
    assert_eq!(ends(&world), [(End::Kept, 1)].into());
    assert!(world.state.memory.held.as_ref().is_some_and(|held| held.why.contains("signpost")));
}

/// The host takes requests to reboot and does nothing.
fn deaf_host() -> World {
    let mut world = at(true, true, Place::Rebooting);
    for _ in 0..1000 {
        if world.queue.front() == Some(&Effect::Reboot) {
            world.happens(Chaos::Fail);
        }
        world.happens(Chaos::None);
        if world.place() == Place::Withdrawing {
            break;
        }
    }
    run(&mut world, 20);
    world
}

#[test]
fn a_host_that_does_not_reboot_keeps_what_it_has() {
    let world = deaf_host();
    assert_eq!(ends(&world), [(End::Withdrawn, 1)].into());
    assert!(world.holders.is_empty());
}

#[test]
fn too_many_boots_without_a_verdict_are_a_verdict() {
    let mut world = World::new();
    world.offer(true, true);
    while world.place() != Place::Verifying {
        world.happens(Chaos::None);
    }
    for _ in 0..10 {
        world.happens(Chaos::PowerCut);
        run(&mut world, 3);
    }
    run(&mut world, CALM);
    assert_eq!(world.running(), version(20));
    assert_eq!(ends(&world), [(End::RolledBack, 1)].into());
}

#[test]
fn an_event_out_of_place_is_an_error_and_changes_nothing() {
    let world = World::new();
    let now = Now { wall: world.wall, boot: Duration::from_secs(60) };
    let illegal = step(&world.state, Event::Rebooting(Ok(())), now).unwrap_err();
    assert_eq!(illegal, Illegal { place: Place::Starting, event: "reboot accepted" });
}

#[test]
fn a_newer_agents_journal_is_read_and_kept() {
    let newer = r#"{"running":"1.20.0","fancy":{"a":1},"held":null,
        "update":{"stage":"pondering","intent":{"from":"1.20.0","to":"1.21.0","bank":"A","boot":"x",
        "begun":"2026-11-01T00:00:00Z","mood":"good"}}}"#;
    let record: Record = serde_json::from_str(newer).unwrap();
    assert_eq!(record.update.as_ref().unwrap().stage, Stage::Unknown);
    let state = State::new(world::settings(""), "node-a".into(), record);
    let again = serde_json::to_value(state.record()).unwrap();
    assert_eq!(again["fancy"]["a"], 1);
    assert_eq!(again["update"]["intent"]["mood"], "good");
}

/// A world in which an update of this kind got as far as that place, if it does.
fn at(boots: bool, well: bool, place: Place) -> World {
    let mut world = World::new();
    world.offer(boots, well);
    for _ in 0..200 {
        if world.place() == place {
            break;
        }
        world.happens(Chaos::None);
    }
    world
}

const PLACES: [Place; 11] = [
    Place::Starting,
    Place::Resting,
    Place::Locking,
    Place::Preparing,
    Place::Measuring,
    Place::Draining,
    Place::Activating,
    Place::Rebooting,
    Place::Verifying,
    Place::RollingBack,
    Place::RebootingBack,
];

/// An update of some kind, how far it gets undisturbed, and what happens then.
fn story() -> impl Strategy<Value = (bool, bool, Place, Vec<Chaos>)> {
    (any::<bool>(), any::<bool>(), prop::sample::select(PLACES.as_slice()), vec(chaos(), 0..120))
}

fn left_behind(world: &mut World) -> Result<(), TestCaseError> {
    calm_down(world);
    let log = world.log.join("\n");
    prop_assert!(world.holders.is_empty(), "the lock was never released\n{log}");
    prop_assert!(world.on_disk().update.is_none(), "the update never ended\n{log}");
    prop_assert_eq!(world.place(), Place::Resting, "{}", log);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// The world checks at every effect that a reboot is in the journal, that nothing is prepared while a verdict is
    /// open or without the lock, that nothing refused is taken and that no more is taken back than allowed; and that no
    /// event is out of place. Here: in the end nothing is left behind.
    #[test]
    fn whatever_happens_to_an_update_nothing_is_left_behind((boots, well, place, happenings) in story()) {
        let mut world = at(boots, well, place);
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        left_behind(&mut world)?;
    }

    #[test]
    fn whatever_happens_for_long_nothing_is_left_behind(happenings in vec(chaos(), 0..1000)) {
        let mut world = World::new();
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        left_behind(&mut world)?;
    }
}

/// The diagram in machine.md is what the machine does. Where this fails and the machine is right, run the test with
/// MESHDOG_DRAW=1.
#[test]
fn the_diagram_is_true() {
    let mut runner = TestRunner::deterministic();
    let mut edges = BTreeSet::new();
    for _ in 0..2000 {
        let (boots, well, place, happenings) = story().new_tree(&mut runner).unwrap().current();
        let mut world = at(boots, well, place);
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        edges.extend(world.edges);
    }
    for rare in [gone_bank(), deaf_signpost(), deaf_host()] {
        edges.extend(rare.edges);
    }
    // Loops say nothing about the way.
    let ways: BTreeSet<_> = edges.into_iter().filter(|(from, _, to)| from != to).collect();
    let mut labels: std::collections::BTreeMap<(Place, Place), Vec<&str>> = Default::default();
    for (from, event, to) in ways {
        labels.entry((from, to)).or_default().push(event);
    }
    let mut drawn = String::from("```mermaid\nstateDiagram-v2\n    [*] --> Starting\n");
    for ((from, to), events) in labels {
        writeln!(drawn, "    {from} --> {to}: {}", events.join(", ")).unwrap();
    }
    drawn.push_str("```\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/update/machine.md");
    let page = std::fs::read_to_string(path).unwrap();
    let begin = page.find("```mermaid").unwrap_or(page.len());
    let end = page[begin..].find("```\n").map_or(page.len(), |end| begin + end + 4);
    if std::env::var_os("MESHDOG_DRAW").is_some() {
        std::fs::write(path, format!("{}{drawn}{}", &page[..begin], &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[begin..end], drawn);
}
