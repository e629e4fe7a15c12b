//! What always holds, however the node is disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;

use bottlerocket_settings::{UpdateState, UpdateStatus};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::faults::{deaf_host, deaf_signpost, gone_bank};
use super::world::{chaos, fails};
use super::*;
use crate::update::banks::Banks;
use crate::update::fleet::Grant;
use crate::update::machine::record::tests::states;
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

const KINDS: [ProgressKind; 11] = [
    ProgressKind::Starting,
    ProgressKind::Standby,
    ProgressKind::Locking,
    ProgressKind::Preparing,
    ProgressKind::Measuring,
    ProgressKind::Draining,
    ProgressKind::Activating,
    ProgressKind::Rebooting,
    ProgressKind::Verifying,
    ProgressKind::RollingBack,
    ProgressKind::RebootingBack,
];

/// An update of some kind, how far it gets undisturbed, and what happens then.
fn story() -> impl Strategy<Value = (bool, bool, ProgressKind, Vec<Chaos>)> {
    (any::<bool>(), any::<bool>(), prop::sample::select(KINDS.as_slice()), vec(chaos(), 0..120))
}

fn left_behind(world: &mut World) -> Result<(), TestCaseError> {
    calm_down(world);
    let story = world.story();
    prop_assert!(world.is_free(), "the lock was never released\n{story}");
    prop_assert!(world.on_disk().update.is_none(), "the update never ended\n{story}");
    prop_assert_eq!(world.kind(), ProgressKind::Standby, "{}", story);
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
    prop_assert_eq!(world.running(), world.newest(), "{:?}\n{}", world.state.progress, world.story());
    prop_assert_eq!(&world.version_lock, "latest");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// The world checks at every effect that a reboot is in the journal, that nothing is prepared while a verdict is
    /// open or without the lock, that nothing refused is taken and that no more is taken back than allowed; and that no
    /// event is out of kind. Here: in the end nothing is left behind.
    #[test]
    fn no_disturbance_of_an_update_leaves_anything_behind((boots, well, kind, happenings) in story()) {
        let mut world = at(boots, well, kind);
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        left_behind(&mut world)?;
    }

    #[test]
    fn no_long_row_of_disturbances_leaves_anything_behind(happenings in vec(chaos(), 0..1000)) {
        let mut world = World::new();
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        left_behind(&mut world)?;
    }
}

/// Every kind of event, as a host and a fleet in that state might make it.
fn events(world: &mut World) -> Vec<Event> {
    let facts = world.facts();
    let failure = |unsupported, partial| Failure { why: "failure".into(), unsupported, busy: false, partial };
    let partial = PartialFacts { boot: facts.boot.clone(), banks: facts.banks };
    let turned = Banks { running: facts.banks.other, other: facts.banks.running, ..facts.banks };
    let elsewhere = Facts { banks: turned, running: version(99), boot: BootId("another".into()), ..facts.clone() };
    let report = |ok| Report { checks: vec![Check { name: "x".into(), ok, found: "".into() }] };
    let mut events = vec![
        Event::Tick,
        Event::NotRecorded { why: "disk full".into(), essential: false },
        Event::NotRecorded { why: "disk full".into(), essential: true },
        Event::Looked(Ok(Box::new(facts.clone()))),
        Event::Looked(Ok(Box::new(elsewhere))),
        Event::Looked(Err(failure(false, None))),
        Event::Looked(Err(failure(true, None))),
        Event::Looked(Err(failure(true, Some(partial)))),
        Event::Refreshed(Ok(())),
        Event::Refreshed(Err(failure(false, None))),
        Event::Granted(Ok(Grant::Granted)),
        Event::Granted(Ok(Grant::Refused("no".into()))),
        Event::Granted(fails("it")),
        Event::Released(Ok(())),
        Event::Released(fails("it")),
        Event::Prepared(Err(failure(false, None))),
        Event::Measured(Baseline::default()),
        Event::Counted(Ok(0)),
        Event::Counted(Ok(u64::MAX)),
        Event::Counted(fails("it")),
        Event::Activated(Err(failure(false, None))),
        Event::Deactivated(Err(failure(false, None))),
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
    ];
    if let Some(status) = facts.updates {
        for state in [UpdateState::Idle, UpdateState::Available, UpdateState::Staged, UpdateState::Ready] {
            let status = || Ok(Box::new(UpdateStatus { update_state: state.clone(), ..status.clone() }));
            events.extend([Event::Prepared(status()), Event::Activated(status()), Event::Deactivated(status())]);
        }
    }
    events
}

/// Every kind of command.
fn commands() -> Vec<Command> {
    vec![Command::Hold("x".repeat(100_000).into()), Command::Resume, Command::Allow(version(21)), Command::Check]
}

/// No event, wherever it comes, does more than the machine's own: a step that it asks for is in the journal first.
#[test]
fn any_input_at_any_time() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..150 {
        let (boots, well, kind, happenings) = story().new_tree(&mut runner).unwrap().current();
        let mut world = at(boots, well, kind);
        for (number, chaos) in happenings.into_iter().enumerate() {
            world.happens(chaos);
            if number % 7 == 0 {
                any_input(&mut world, &mut seen);
            }
        }
    }
    let kinds: BTreeSet<ProgressKind> = seen.iter().map(|(kind, _)| *kind).collect();
    assert!(KINDS.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

fn any_input(world: &mut World, seen: &mut BTreeSet<(ProgressKind, &'static str)>) {
    let mut came = Vec::new();
    for event in events(world) {
        let name = event.name();
        match step(&world.state, event, world.now()) {
            Ok(done) => came.push((name, done)),
            Err(illegal) => {
                assert_eq!(illegal, Illegal { at: world.kind(), event: name });
                seen.insert((world.kind(), name));
            }
        }
    }
    for command in commands() {
        came.push((command.name(), obey(&world.state, command, world.now())));
    }
    let state = &world.state;
    for (name, (next, effects)) in came {
        seen.insert((world.kind(), name));
        let (kind, record) = (ProgressKind::of(&next.progress), next.record());
        let written = effects.iter().find_map(|effect| match effect {
            Effect::Record { record, .. } => Some(&**record),
            _ => None,
        });
        if name != "not recorded" {
            assert!(record == state.record() || written == Some(&record), "{name} at {}: not written", world.kind());
        }
        assert!(written.is_none() || matches!(effects[0], Effect::Record { .. }), "written first");
        for effect in &effects {
            let at_home = match effect {
                Effect::Prepare => kind == ProgressKind::Preparing,
                Effect::Activate => kind == ProgressKind::Activating,
                Effect::Deactivate => kind == ProgressKind::Withdrawing,
                Effect::RollBack => kind == ProgressKind::RollingBack,
                Effect::Reboot => matches!(kind, ProgressKind::Rebooting | ProgressKind::RebootingBack),
                Effect::Acquire => kind == ProgressKind::Locking,
                Effect::Release | Effect::Refresh | Effect::Pin(_) => kind == ProgressKind::Standby,
                _ => true,
            };
            assert!(at_home, "{name} at {}: {} at {kind}", world.kind(), effect.name());
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
        let (boots, well, kind, happenings) = story().new_tree(&mut runner).unwrap().current();
        let mut world = at(boots, well, kind);
        happenings.into_iter().for_each(|chaos| world.happens(chaos));
        edges.extend(world.edges);
    }
    for rare in [gone_bank(), deaf_signpost(), deaf_host()] {
        edges.extend(rare.edges);
    }
    // Loops say nothing about the way.
    let ways: BTreeSet<_> = edges.into_iter().filter(|(from, _, to)| from != to).collect();
    let mut labels: BTreeMap<(ProgressKind, ProgressKind), Vec<&str>> = Default::default();
    for (from, event, to) in ways {
        labels.entry((from, to)).or_default().push(event);
    }
    let mut drawn = String::from("```mermaid\nstateDiagram-v2\n    [*] --> Starting\n");
    for ((from, to), events) in labels {
        writeln!(drawn, "    {from} --> {to}: {}", events.join(", ")).unwrap();
    }
    drawn.push_str("```\n");
    on_the_page("```mermaid", "```\n", &drawn);
}

/// The table in machine.md, as [`the_diagram_is_true`].
#[test]
fn the_table_is_true() {
    let mut table = String::from("| state | file | phase | in the journal |\n|---|---|---|---|\n");
    for kind in ProgressKind::ALL {
        let file = match kind {
            ProgressKind::Measuring => "preparing".to_owned(),
            ProgressKind::RollingBack | ProgressKind::RebootingBack => "rolling_back".to_owned(),
            kind => kind.to_string().to_lowercase(),
        };
        let source = format!("{}/src/update/machine/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&source).exists(), "{source}");
        let phases: Vec<&str> = kind.phases().iter().map(|phase| phase.as_str()).collect();
        writeln!(table, "| {kind} | `{file}.rs` | {} | {} |", phases.join(", "), in_the_journal(kind)).unwrap();
    }
    on_the_page("| state |", "|\n\n", &format!("{table}\n"));
}

/// The phases that the journal may keep of a state.
fn in_the_journal(kind: ProgressKind) -> String {
    if kind == ProgressKind::Starting {
        return "as it was".to_owned();
    }
    let of_kind = states().into_iter().filter(|(_, progress, ..)| ProgressKind::of(progress) == kind);
    let words: BTreeSet<String> = of_kind
        .map(|(_, progress, ..)| match &progress {
            Progress::Updating { step, .. } => {
                serde_json::to_value(step.checkpoint()).unwrap()["stage"].as_str().unwrap().to_owned()
            }
            _ => "no update".to_owned(),
        })
        .collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// What machine.md has from `begin` to `end` is this.
fn on_the_page(begin: &str, end: &str, drawn: &str) {
    static PAGE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = PAGE.lock().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/update/machine.md");
    let page = std::fs::read_to_string(path).unwrap();
    let from = page.find(begin).unwrap_or(page.len());
    let to = page[from..].find(end).map_or(page.len(), |at| from + at + end.len());
    if std::env::var_os("MESHDOG_DRAW").is_some() {
        std::fs::write(path, format!("{}{drawn}{}", &page[..from], &page[to..])).unwrap();
        return;
    }
    assert_eq!(&page[from..to], drawn);
}
