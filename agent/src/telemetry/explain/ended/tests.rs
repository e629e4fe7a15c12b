use super::*;
use crate::telemetry::explain::{Explanation, explain};
use crate::telemetry::inputs::tests::{Fixture, WEB};

const GONE: &str = "deadbeef0123456789abcdef0123456789abcdef0123456789abcdef01234567";

/// A mesh where these ended: id, name, service, how many seconds ago.
fn after(ended: &[(&str, &str, &str, u64)]) -> Fixture {
    let all = Fixture::working();
    let now = all.snapshot().wall_ms();
    let pasts = ended.iter().map(|(id, name, service, ago)| {
        let at_ms = now - ago * 1000;
        let end = End { at_ms, exit_code: Some(1), out_of_memory: false, stopped: false, removed: false };
        let services = if service.is_empty() { [].into() } else { [(*service).into()].into() };
        let past = Past { name: (*name).into(), services, starts_ms: vec![at_ms - 1000], end: Some(end) };
        (Arc::from(*id), Arc::new(past))
    });
    all.containers.send_modify(|containers| containers.as_mut().unwrap().pasts = pasts.collect());
    all
}

fn ended_of(answer: &Explanation) -> Vec<&str> {
    answer.ended.iter().map(|ended| &*ended.name).collect()
}

#[test]
fn one_that_ended_is_found_by_name_id_and_service() {
    let all = after(&[(GONE, "batch-1", "batch", 30)]);
    for query in ["batch-1", "deadbeef", GONE, "batch", "batch:80", "prod/batch", "batch.prod", "http://batch/x"] {
        let answer = explain(&all.snapshot(), query);
        assert!(answer.known() && answer.nearest.is_empty(), "{query}");
        assert_eq!(ended_of(&answer), ["batch-1"], "{query}");
        assert!(answer.ended[0].what.starts_with("container batch-1 exited with code 1 3"), "{:?}", answer.ended);
    }
    for query in ["dea", "batch-2", "", "prod", "batch-1x"] {
        assert_eq!(ended_of(&explain(&all.snapshot(), query)), [""; 0], "{query}");
    }
    assert_eq!(explain(&all.snapshot(), "batsh-1").nearest[0], "batch-1");
    let text = serde_json::to_string(&explain(&all.snapshot(), "batch")).unwrap();
    assert!(text.contains(r#""exit_code":1"#) && text.contains(r#""loops":false"#), "{text}");
}

#[test]
fn a_service_without_endpoints_names_who_offered_it_and_one_with_some_does_not() {
    let all = after(&[(GONE, "web-9", "orders", 30), ("aaaa", "web-8", "shared/orders", 20), ("bbbb", "x", "", 10)]);
    assert_eq!(ended_of(&explain(&all.snapshot(), "shared/orders")), ["web-8", "web-9"], "latest first");
    assert_eq!(ended_of(&explain(&all.snapshot(), "prod/orders")), [""; 0]);
    let other = after(&[(GONE, "web-9", "prod/orders", 30)]);
    assert_eq!(ended_of(&explain(&other.snapshot(), "shared/orders")), [""; 0], "another namespace's");
}

#[test]
fn only_some_are_told() {
    let ids: Vec<String> = (0..40).map(|n| format!("{n:064}")).collect();
    let ended: Vec<_> = ids.iter().map(|id| (id.as_str(), "batch-1", "batch", 30)).collect();
    assert_eq!(explain(&after(&ended).snapshot(), "batch").ended.len(), MAX_TOLD);
}

#[test]
fn one_that_runs_again_says_how_it_ended_before() {
    let all = after(&[(WEB, "web-1", "orders", 30)]);
    let answer = explain(&all.snapshot(), "web-1");
    assert_eq!(ended_of(&answer), [""; 0], "it runs");
    assert!(answer.containers[0].before.as_deref().unwrap().starts_with("exited with code 1 3"));
}
