use std::sync::{Arc, Mutex};

use super::*;

/// Notes who ends, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn noted(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// Parts of every stage that note their end, added in the wrong order.
fn parts(log: &Log) -> Parts {
    let mut parts = Parts::default();
    for (stage, name) in [(Stage::Rest, "rest"), (Stage::Capture, "capture"), (Stage::Answers, "answers")] {
        let log = log.clone();
        parts.add(stage, name, |stop| async move {
            stop.cancelled().await;
            // Something to finish: the next stage is not told meanwhile.
            tokio::time::sleep(JOIN / 2).await;
            log.note(name);
        });
    }
    parts
}

#[tokio::test(start_paused = true)]
async fn when_a_part_ends_the_others_are_stopped_in_order_and_the_reason_is_told() {
    let log = Log::default();
    let mut parts = parts(&log);
    parts.add_until_stopped(Stage::Rest, "the short one", async {});
    let error = parts.run().await.unwrap_err();
    assert!(matches!(error, PartError::Starved("the short one")), "{error}");
    assert_eq!(log.noted(), ["capture", "answers", "rest"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_reason_and_hurts_no_other_part() {
    let log = Log::default();
    let mut parts = parts(&log);
    parts.add_until_stopped(Stage::Answers, "the clumsy one", async { panic!("on purpose") });
    let error = parts.run().await.unwrap_err();
    assert!(matches!(error, PartError::Panicked { part: "the clumsy one", .. }), "{error}");
    assert_eq!(log.noted(), ["capture", "answers", "rest"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_end_holds_nobody_up_for_longer_than_the_bound() {
    let log = Log::default();
    let mut parts = parts(&log);
    parts.add(Stage::Capture, "the deaf one", |_| std::future::pending());
    parts.add_until_stopped(Stage::Rest, "the short one", async {});
    let begun = Instant::now();
    parts.run().await.unwrap_err();
    assert_eq!(begun.elapsed(), JOIN + JOIN / 2 + JOIN / 2);
    assert_eq!(log.noted(), ["capture", "answers", "rest"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_nothing_to_finish_ends_when_it_is_told() {
    let mut parts = Parts::default();
    parts.add_until_stopped(Stage::Capture, "the patient one", std::future::pending());
    parts.add_until_stopped(Stage::Rest, "the short one", async {});
    let begun = Instant::now();
    parts.run().await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
