use crate::telemetry::inputs::tests::Fixture;
use crate::telemetry::metrics::tests::{scrape, value};
use crate::telemetry::metrics::{Handles, registry};
use crate::update::fleet::Ruling;
use crate::update::machine::{End, Hold, PastUpdate, State, Step, Verdict};
use crate::update::tests::{handle, idle, moment, updating, verifying, version};
use crate::update::verify::Report;

fn samples(state: State) -> Vec<(String, f64)> {
    let (update, _task) = handle(state);
    update.metrics.transitions.inc_by(3);
    update.metrics.illegal.inc();
    let handles = Handles { update: update.metrics.clone(), ..Handles::default() };
    let all = Fixture { update, ..Fixture::working() };
    let samples = scrape(&registry(&all.inputs(), &handles));
    samples.into_iter().filter(|(series, _)| series.starts_with("meshdog_update_")).collect()
}

#[test]
fn an_update_in_metrics() {
    let mut state = verifying();
    let ruling = |refused| Ruling { refused, at: moment(), by: "node-b".into(), why: "".into() };
    state.memory.rulings = [(version("1.21.1"), ruling(true)), (version("1.21.0"), ruling(false))].into();
    state.memory.rollbacks = 2;
    state.memory.held = Some(Hold { why: "by hand".into(), since: moment() });
    state.memory.verdict = Some(Verdict {
        version: version("1.21.0"),
        good: false,
        at: moment(),
        why: "".into(),
        report: Report::default(),
    });
    let past = |end| PastUpdate { at: moment(), from: version("1.20.5"), to: version("1.21.0"), end, why: "".into() };
    state.memory.history = vec![past(End::RolledBack), past(End::Good), past(End::RolledBack)];
    let samples = samples(state);
    for (series, expected) in [
        (r#"phase{phase="verifying"}"#, 1.0),
        ("transitions_total", 3.0),
        ("illegal_transitions_total", 1.0),
        ("rollbacks", 2.0),
        ("refused_versions", 1.0),
        ("held", 1.0),
        (r#"check{check="docker"}"#, 1.0),
        (r#"check{check="http http://127.0.0.1:8080/healthz"}"#, 0.0),
        ("last_verdict_good", 0.0),
        ("last_verdict_timestamp_seconds", 1_767_323_045.0),
        (r#"ends{end="rolled-back"}"#, 2.0),
        (r#"ends{end="good"}"#, 1.0),
        (r#"ends{end="kept"}"#, 0.0),
    ] {
        let series = format!("meshdog_update_{series}");
        assert_eq!(value(&samples, &series), Some(expected), "{series} in {samples:#?}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let has = |samples: &[(String, f64)], start: &str| {
        samples.iter().any(|(series, _)| series.starts_with(&format!("meshdog_update_{start}")))
    };
    let resting = samples(idle("automatic"));
    for start in ["check", "drain_connections", "last_verdict"] {
        assert!(!has(&resting, start), "{resting:#?}");
    }
    assert_eq!(resting.iter().filter(|(series, _)| series.contains("phase")).count(), 1);
    assert_eq!(value(&resting, "meshdog_update_held"), Some(0.0), "an alert has a zero to see");

    let draining = |left| samples(updating(Step::Draining { since: std::time::Duration::ZERO, left }));
    assert_eq!(value(&draining(Some(7)), "meshdog_update_drain_connections"), Some(7.0));
    assert!(!has(&draining(None), "drain_connections"));
}
