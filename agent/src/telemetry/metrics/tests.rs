use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{Desired, Frontend, L4};
use crate::telemetry::inputs::tests::{Fixture, id, resolver};
use crate::update::machine::Verdict;
use crate::update::tests::{handle, moment, verifying, version};
use crate::update::verify::Report;

/// The value of each series, by the series as it is written.
pub(super) fn scrape(registry: &Registry) -> Vec<(String, f64)> {
    let text = text(registry).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

pub(super) fn value(samples: &[(String, f64)], series: &str) -> Option<f64> {
    let mut found = samples.iter().filter(|(name, _)| name == series).map(|(_, value)| *value);
    let first = found.next();
    assert_eq!(found.next(), None, "{series} is written twice");
    first
}

#[test]
fn every_metric_has_its_documented_name() {
    let orders = Frontend { vip: [240, 240, 0, 7].into(), l4: L4::Tcp, port: 80.try_into().unwrap() };
    let handles = Handles { census: Census::of([(orders, 3)].into()), ..Handles::default() };
    let flow = handles.traffic.of(&id("prod/orders"));
    flow.connections.inc_by(7);
    flow.connect_failures.inc();
    flow.ejections.inc();
    flow.request_bytes.inc_by(100);
    flow.response_bytes.inc_by(2000);
    handles.dataplane.reconcile.observe(0.0004);
    handles.dataplane.failures.inc_by(3);
    handles.dataplane.repairs.inc_by(2);
    let fixture = Fixture::working();
    fixture.desired.send_modify(|desired| {
        let mut served = Desired::clone(desired.as_ref().unwrap());
        served.served.insert(orders, id("prod/orders"));
        *desired = Some(Arc::new(served));
    });
    let samples = scrape(&registry(&fixture.inputs(), &handles));
    let orders = r#"{namespace="prod",service="orders""#;
    for (series, expected) in [
        (format!("meshdog_connections_total{orders}}}"), 7.0),
        (format!("meshdog_connections_active{orders}}}"), 3.0),
        (format!("meshdog_connect_failures_total{orders}}}"), 1.0),
        (format!("meshdog_ejections_total{orders}}}"), 1.0),
        (format!(r#"meshdog_bytes_total{orders},direction="request"}}"#), 100.0),
        (format!(r#"meshdog_bytes_total{orders},direction="response"}}"#), 2000.0),
        (format!(r#"meshdog_endpoints{orders},state="healthy"}}"#), 1.0),
        (format!(r#"meshdog_endpoints{orders},state="ejected"}}"#), 1.0),
        (format!(r#"meshdog_endpoints{orders},state="draining"}}"#), 0.0),
        (r#"meshdog_source_up{source="docker"}"#.to_owned(), 1.0),
        (r#"meshdog_source_up{source="host_api"}"#.to_owned(), 0.0),
        (r#"meshdog_update_phase{phase="off"}"#.to_owned(), 1.0),
        ("meshdog_reconcile_seconds_count".to_owned(), 1.0),
        (r#"meshdog_reconcile_seconds_bucket{le="0.0004"}"#.to_owned(), 1.0),
        ("meshdog_reconcile_failures_total".to_owned(), 3.0),
        ("meshdog_repairs_total".to_owned(), 2.0),
        ("meshdog_label_faults".to_owned(), 1.0),
        (r#"meshdog_source_drift_total{source="docker"}"#.to_owned(), 0.0),
        ("meshdog_budget_names".to_owned(), 3.0),
        ("meshdog_budget_refused".to_owned(), 2.0),
        ("meshdog_dns_up".to_owned(), 1.0),
        ("meshdog_hosts_files".to_owned(), 1.0),
        ("meshdog_hosts_file_failures_total".to_owned(), 0.0),
        (format!(r#"meshdog_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(value(&samples, &series), Some(expected), "{series} in {samples:#?}");
    }
}

#[test]
fn a_source_that_is_not_used_cannot_raise_an_alarm() {
    let samples = scrape(&registry(&Fixture::working().inputs(), &Handles::default()));
    assert_eq!(value(&samples, r#"meshdog_source_up{source="ecs"}"#), None);
}

#[test]
fn a_resolver_that_does_not_answer_shows_a_zero() {
    let all = Fixture::working();
    for state in [dns::ResolverState::Off, dns::ResolverState::Listening { address: resolver(), paths: None }] {
        all.resolver.send_replace(state);
        let samples = scrape(&registry(&all.inputs(), &Handles::default()));
        assert_eq!(value(&samples, "meshdog_dns_up"), Some(0.0));
    }
}

#[test]
fn endpoints_of_one_service_over_two_transports_are_one_series() {
    let samples = scrape(&registry(&Fixture::working().inputs(), &Handles::default()));
    let series = r#"meshdog_endpoints{namespace="prod",service="gate",state="healthy"}"#;
    assert_eq!(value(&samples, series), Some(2.0));
    let series = r#"meshdog_endpoints{namespace="shared",service="orders",state="healthy"}"#;
    assert_eq!(value(&samples, series), Some(0.0), "a service without endpoints shows a zero");
}

#[test]
fn the_process_describes_itself() {
    let samples = scrape(&registry(&Fixture::starting().inputs(), &Handles::default()));
    assert!(value(&samples, "process_resident_memory_bytes").unwrap() > 1e5);
    assert!(value(&samples, "process_open_fds").unwrap() >= 1.0);
    assert!(value(&samples, "process_cpu_seconds_total").unwrap() >= 0.0);
    let started = value(&samples, "process_start_time_seconds").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((started - now).abs() < 3600.0, "{started} is not a moment ago");
}

#[test]
fn families_stand_together_and_are_described_once() {
    let handles = Handles::default();
    let _ = (handles.traffic.of(&id("prod/orders")), handles.traffic.of(&id("prod/gate")));
    let text = text(&registry(&Fixture::working().inputs(), &handles)).unwrap();
    let mut described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let all = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!(described.len(), all);
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_vanished_service_go() {
    let all = Fixture::working();
    let handles = Handles::default();
    let registry = registry(&all.inputs(), &handles);
    handles.traffic.of(&id("prod/orders")).connections.inc();
    let pruning = tokio::spawn(counters::prune(all.desired.subscribe(), handles.traffic.clone()));
    let series = r#"meshdog_connections_total{namespace="prod",service="orders"}"#;

    all.desired.send_modify(|desired| *desired = Some(Arc::new(Desired::clone(desired.as_ref().unwrap()))));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(value(&scrape(&registry), series), Some(1.0), "a change elsewhere keeps it");

    all.desired.send_replace(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(value(&scrape(&registry), series), None);

    drop(all);
    pruning.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_has_dropped_is_not_held() {
    let all = Fixture::working();
    tokio::spawn(counters::prune(all.desired.subscribe(), counters::TrafficCounters::default()));
    all.desired.send_modify(|desired| *desired = Some(Arc::new(Desired::clone(desired.as_ref().unwrap()))));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let dropped = Arc::downgrade(&all.desired.send_replace(None).unwrap());
    assert!(dropped.upgrade().is_none());
}

/// The documents for people, as far as they tell of metrics.
const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "packaging/operators-guide.md"];

/// Every metric by the name that it is scraped by; a histogram by the name of its buckets' family.
fn scraped_names() -> BTreeSet<String> {
    let mut state = verifying();
    state.memory.verdict = Some(Verdict {
        version: version("1.21.0"),
        good: true,
        at: moment(),
        why: "".into(),
        report: Report::default(),
    });
    let all = Fixture { update: handle(state).0, ..Fixture::working() };
    let handles = Handles { dns: dns::ResolverMetrics::counted(), ..Handles::default() };
    let text = text(&registry(&all.inputs(), &handles)).unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names = families.map(|(name, kind)| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    });
    names.collect()
}

#[test]
fn the_operators_guide_tells_of_every_metric_and_the_documents_of_no_other() {
    let scraped = scraped_names();
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(format!("{}/../{document}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| word.starts_with("meshdog_") || word.starts_with("process_"));
        // Not what all of some metrics begin with.
        let told: BTreeSet<&str> = metrics.filter(|word| !word.ends_with('_')).collect();
        let unknown: Vec<_> = told.iter().filter(|name| !scraped.contains(**name)).collect();
        assert!(unknown.is_empty(), "{document} tells of metrics that are not there: {unknown:?}");
        if document == "packaging/operators-guide.md" {
            let missing: Vec<_> = scraped.iter().filter(|name| !told.contains(name.as_str())).collect();
            assert!(missing.is_empty(), "{document} does not tell of {missing:?}");
        }
    }
}
