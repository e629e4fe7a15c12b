use super::*;

const NOW: u64 = 1_800_000_000_000;

fn past(starts_ago: &[u64], end: End) -> Past {
    let starts_ms = starts_ago.iter().map(|s| NOW - s * 1000).collect();
    Past { name: "orders-1".into(), services: Arc::default(), starts_ms, end: Some(end) }
}

fn end(ago: u64, code: i32) -> End {
    End { at_ms: NOW - ago * 1000, exit_code: Some(code), out_of_memory: false, stopped: false, removed: false }
}

#[test]
fn an_end_is_told_in_one_sentence() {
    let oom = End { out_of_memory: true, ..end(12, 137) };
    for (past, told) in [
        (
            past(&[500, 400, 300, 200, 20], oom),
            "exited with code 137 (out of memory) 12 s ago; started 5 times in the last 10 minutes: it restarts in a \
             loop, see docker logs orders-1",
        ),
        (past(&[700, 20], end(3, 1)), "exited with code 1 3 s ago; see docker logs orders-1"),
        (
            past(&[60, 20], end(150, 0)),
            "exited with code 0 2 min ago; started 2 times in the last 10 minutes; see docker logs orders-1",
        ),
        (past(&[20], End { stopped: true, ..end(3, 143) }), "exited with code 143 3 s ago, after it was told to stop"),
        (
            past(&[20], End { removed: true, exit_code: None, ..end(3, 0) }),
            "ended 3 s ago; it was removed, and its logs with it",
        ),
        // A clock that was set back.
        (past(&[20], End { at_ms: NOW + 5000, ..end(0, 2) }), "exited with code 2 0 s ago; see docker logs orders-1"),
    ] {
        assert_eq!(past.told(NOW).unwrap(), told);
    }
    assert_eq!(Past::default().told(NOW), None);
}

#[test]
fn who_is_told_to_stop_does_not_loop() {
    assert!(past(&[90, 60, 30], end(3, 1)).loops(NOW));
    assert!(!past(&[90, 60, 30], End { stopped: true, ..end(3, 1) }).loops(NOW));
    assert!(!past(&[900, 800, 30], end(3, 1)).loops(NOW));
}
