use super::*;

const NOW: u64 = 1_800_000_000_000;

fn id(n: usize) -> ContainerId {
    format!("c{n}").into()
}

fn death(code: i32, services: &[&str]) -> Death {
    let services = services.iter().map(|service| (*service).into()).collect();
    Death { name: "orders-1".into(), services, exit_code: Some(code) }
}

#[test]
fn a_loop_is_one_container_with_its_beginnings() {
    let mut history = History::default();
    for life in 0..40 {
        let at = NOW + life * 10_000;
        history.started(&id(1), at);
        if life == 39 {
            history.starved(&id(1));
        }
        history.died(&id(1), &death(137, &["orders"]), false, at + 5000);
    }
    assert_eq!(history.pasts().len(), 1);
    let past = &history.pasts()[&id(1)];
    assert_eq!(past.starts_ms.len(), MAX_STARTS);
    assert!(past.loops(NOW + 400_000));
    assert!(past.end.unwrap().out_of_memory);
    history.started(&id(1), NOW + 400_000);
    history.died(&id(1), &death(1, &[]), false, NOW + 400_001);
    assert!(!history.pasts()[&id(1)].end.unwrap().out_of_memory, "that was the life before");
}

#[test]
fn what_is_remembered_is_bounded_and_what_matters_stays() {
    let mut history = History::default();
    history.died(&id(1), &death(1, &["orders"]), false, NOW);
    for n in 2..2000 {
        history.started(&id(n), NOW + 1);
        history.died(&id(n), &death(0, &[]), false, NOW + 2);
        history.starved(&id(n + 5000));
    }
    assert_eq!(history.pasts().len(), MAX_PASTS);
    assert!(history.starved.len() <= MAX_PASTS);
    assert!(history.pasts().contains_key(&id(1)), "of those that ended, who offered something");
    history.forget_old(NOW + KEPT_MS + 1);
    assert!(!history.pasts().contains_key(&id(1)), "for an hour");
    history.forget_old(NOW + KEPT_MS + 3);
    assert_eq!(history.pasts().len(), 0);
}

#[test]
fn what_a_list_says_is_older_than_what_was_seen() {
    let mut history = History::default();
    history.died(&id(1), &death(1, &[]), true, NOW);
    history.found(&id(1), &death(1, &[]), NOW - 1000, NOW);
    assert!(history.pasts()[&id(1)].end.unwrap().stopped);
    history.found(&id(2), &death(3, &["orders"]), NOW - KEPT_MS - 1, NOW);
    history.found(&id(3), &death(3, &["orders"]), NOW - 60_000, NOW);
    assert!(!history.pasts().contains_key(&id(2)));
    assert_eq!(history.pasts()[&id(3)].end.unwrap().exit_code, Some(3));
    history.removed(&id(3));
    history.removed(&id(4));
    assert!(history.pasts()[&id(3)].end.unwrap().removed);
}
