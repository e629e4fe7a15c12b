//! Whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bottlerocket_settings::{UpdateState, UpdateStatus};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::others::{deaf_host, deaf_signpost, gone_bank};
use super::world::{chaos, fails};
use super::*;
use crate::update::banks::Banks;
use crate::update::verify::{Baseline, Check, Report};

/// Everything works again, and what others began is undone.
pub(super) fn calm_down(world: &mut World) {
    use Chaos::{BadUpdog, DeadApi, DiskFull, FleetDown, OneBank, OtherNode, Sick};
    let well = [FleetDown, OtherNode, Sick, OneBank, DeadApi, BadUpdog, DiskFull].map(|trouble| trouble(false));
    for chaos in well {
        world.happens(chaos);
    }
    run(world, CALM);
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
    let story = world.story();
    prop_assert!(world.is_free(), "the lock was never released\n{story}");
    prop_assert!(world.on_disk().update.is_none(), "the update never ended\n{story}");
    prop_assert_eq!(world.place(), Place::Resting, "{}", story);
    let (lock, wanted) = (&world.version_lock, world.operators_lock());
    match &world.state.memory.pin {
        None => prop_assert_eq!(lock, wanted, "the operator's lock is lost\n{}", story),
        Some(pin) => {
            prop_assert_eq!(&pin.before, wanted, "the operator's lock is forgotten\n{}", story);
            prop_assert_eq!(lock, &pin.to.to_string(), "{}", story);
            prop_assert_eq!(&pin.to, &world.running(), "{}", story);
        }
    }
    // Where nobody else has begun anything and nobody holds updates, a good version is taken.
    if world.is_touched() || ends(world).contains_key(&End::Foreign) {
        world.happens(Chaos::PowerCut);
    }
    world.happens(Chaos::ForeignLock(0));
    run(world, 10);
    world.happens(Chaos::Resume);
    world.offer(true, true);
    run(world, CALM);
    prop_assert_eq!(world.running(), world.newest(), "{:?}\n{}", world.state.phase, world.story());
    prop_assert_eq!(&world.version_lock, "latest");
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

/// Every kind of event, as a host and a fleet in that state might make it.
fn events(world: &mut World) -> Vec<Event> {
    let facts = world.facts();
    let trouble = |unsupported, seen| Trouble { why: "trouble".into(), unsupported, seen };
    let seen = Glimpse { boot: facts.boot.clone(), banks: facts.banks };
    let turned = Banks { running: facts.banks.other, other: facts.banks.running, ..facts.banks };
    let elsewhere = Facts { banks: turned, running: version(99), boot: BootId("another".into()), ..facts.clone() };
    let report = |ok| Report { checks: vec![Check { name: "x".into(), ok, found: "".into() }] };
    let mut events = vec![
        Event::Tick,
        Event::NotRecorded { why: "disk full".into(), essential: false },
        Event::NotRecorded { why: "disk full".into(), essential: true },
        Event::Looked(Ok(Box::new(facts.clone()))),
        Event::Looked(Ok(Box::new(elsewhere))),
        Event::Looked(Err(trouble(false, None))),
        Event::Looked(Err(trouble(true, None))),
        Event::Looked(Err(trouble(true, Some(seen)))),
        Event::Refreshed(Ok(())),
        Event::Refreshed(Err(trouble(false, None))),
        Event::Granted(Ok(Grant::Granted)),
        Event::Granted(Ok(Grant::Refused("no".into()))),
        Event::Granted(fails("it")),
        Event::Released(Ok(())),
        Event::Released(fails("it")),
        Event::Prepared(Err(trouble(false, None))),
        Event::Measured(Baseline::default()),
        Event::Counted(Ok(0)),
        Event::Counted(Ok(u64::MAX)),
        Event::Counted(fails("it")),
        Event::Activated(Err(trouble(false, None))),
        Event::Deactivated(Err(trouble(false, None))),
        Event::Rebooting(Ok(())),
        Event::Rebooting(fails("it")),
        Event::Checked(report(true)),
        Event::Checked(report(false)),
        Event::Checked(Report::default()),
        Event::RolledBack(Ok(facts.banks)),
        Event::RolledBack(Ok(turned)),
        Event::RolledBack(fails("it")),
        Event::Pinned(Ok(())),
        Event::Pinned(fails("it")),
        Event::Ruled(version(21), Ok(())),
        Event::Ruled(version(21), fails("it")),
        Event::Reported(Ok(())),
        Event::Reported(fails("it")),
        Event::BreakerReset(Ok(())),
        Event::BreakerReset(fails("it")),
        Event::Hold("x".repeat(100_000).into()),
        Event::Resume,
        Event::Allow(version(21)),
        Event::Check,
    ];
    if let Some(status) = facts.updates {
        for state in [UpdateState::Idle, UpdateState::Available, UpdateState::Staged, UpdateState::Ready] {
            let status = || Ok(Box::new(UpdateStatus { update_state: state.clone(), ..status.clone() }));
            events.extend([Event::Prepared(status()), Event::Activated(status()), Event::Deactivated(status())]);
        }
    }
    events
}

/// No event, wherever it comes, does more than the machine's own: a step that it asks for is in the journal first.
#[test]
fn any_event_at_any_place() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..150 {
        let (boots, well, place, happenings) = story().new_tree(&mut runner).unwrap().current();
        let mut world = at(boots, well, place);
        for (number, chaos) in happenings.into_iter().enumerate() {
            world.happens(chaos);
            if number % 7 == 0 {
                any_event(&mut world, &mut seen);
            }
        }
    }
    let places: BTreeSet<Place> = seen.iter().map(|(place, _)| *place).collect();
    assert!(PLACES.iter().all(|place| places.contains(place)), "{places:?}");
}

fn any_event(world: &mut World, seen: &mut BTreeSet<(Place, &'static str)>) {
    for event in events(world) {
        let (state, name) = (&world.state, event.name());
        seen.insert((world.place(), name));
        let (next, effects) = match step(state, event, world.now()) {
            Ok(done) => done,
            Err(illegal) => {
                assert_eq!(illegal, Illegal { place: world.place(), event: name });
                continue;
            }
        };
        let (place, record) = (Place::of(&next.phase), next.record());
        let written = effects.iter().find_map(|effect| match effect {
            Effect::Record { record, .. } => Some(&**record),
            _ => None,
        });
        if name != "not recorded" {
            assert!(record == state.record() || written == Some(&record), "{name} at {}: not written", world.place());
        }
        assert!(written.is_none() || matches!(effects[0], Effect::Record { .. }), "written first");
        for effect in &effects {
            let at_home = match effect {
                Effect::Prepare => place == Place::Preparing,
                Effect::Activate => place == Place::Activating,
                Effect::Deactivate => place == Place::Withdrawing,
                Effect::RollBack => place == Place::RollingBack,
                Effect::Reboot => matches!(place, Place::Rebooting | Place::RebootingBack),
                Effect::Acquire => place == Place::Locking,
                Effect::Release | Effect::Refresh | Effect::Pin(_) => place == Place::Resting,
                _ => true,
            };
            assert!(at_home, "{name} at {}: {} at {place}", world.place(), effect.name());
        }
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
    let mut labels: BTreeMap<(Place, Place), Vec<&str>> = Default::default();
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
